"""Runs the job on the compute nodes of this run (`--limit` holds): starts `shoal run` once, on the control machine.

Options of `shoal run` are given as data: --data 'infer_options=["--conf","0.5"]'.
"""

from pyinfra import host
from pyinfra.operations import python

from roles.common import job
from roles.common.knobs import node_of

job.refuse_idle(host)
if node_of(host).has_role("compute"):
    python.call(name="Run the inference job", function=job.run, _run_once=True)
