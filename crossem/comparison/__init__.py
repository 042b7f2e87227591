"""Comparisons: methods, seeds and label fractions of a spec, run by the bundles' commands and written up."""

from crossem.comparison.data import data_facts, find_datalist, shown_volumes
from crossem.comparison.plan import Run, plan_runs, selected_runs, shown_runs
from crossem.comparison.provenance import git_commit, versions
from crossem.comparison.results import METRIC, comparison_document, write_json
from crossem.comparison.runner import (
    Machine,
    Progress,
    RunEnded,
    check_histories,
    execute,
    find_machine,
    locked,
)
from crossem.comparison.spec import Spec, load_spec, with_seeds

__all__ = [
    "METRIC",
    "Machine",
    "Progress",
    "Run",
    "RunEnded",
    "Spec",
    "check_histories",
    "comparison_document",
    "data_facts",
    "execute",
    "find_datalist",
    "find_machine",
    "git_commit",
    "load_spec",
    "locked",
    "plan_runs",
    "selected_runs",
    "shown_runs",
    "shown_volumes",
    "versions",
    "with_seeds",
    "write_json",
]
