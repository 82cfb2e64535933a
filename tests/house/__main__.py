"""Writes the table of rooms into docs/architecture.md."""

from rooms import BEGIN, END, REPOSITORY, contract, table

path = REPOSITORY / "docs" / "architecture.md"
text = path.read_text(encoding="utf-8")
head, _, rest = text.partition(BEGIN)
path.write_text(f"{head}{BEGIN}\n\n{table(contract())}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
