"""Options of the verbs that begin a run or take one up."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")]
Timeout = Annotated[int | None, typer.Option(min=1, metavar="SECONDS", help="Limit per node; a new run's is 24 h.")]
Cpu = Annotated[str | None, typer.Option(metavar="CPUS", help="Per node; a new run's is 80 % of the smallest.")]
Memory = Annotated[str | None, typer.Option(metavar="SIZE", help="Per node, such as 1500MB.")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"] | None,
    typer.Option(
        help="Numbers the model computes in; else auto: bfloat16 where a trial finds the same.", show_default=False
    ),
]
Attempts = Annotated[
    int | None, typer.Option(min=1, help="How often a node gets the run by itself; else bacalhau 5, ssh 1.")
]
Fetch = Annotated[bool, typer.Option(" /--no-fetch", help="Leave the results on the nodes.", show_default=False)]
RecordAsJson = Annotated[
    bool, typer.Option("--json", help="The run's record as JSON on stdout at the end.", show_default=False)
]
