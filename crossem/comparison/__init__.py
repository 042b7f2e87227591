"""Comparisons: methods, seeds and label fractions of a spec, run by the bundles' commands and written up."""

from crossem.comparison.data import check_labels, data_facts, find_datalist, shown_volumes
from crossem.comparison.earlier import earlier_results, runs_to_do
from crossem.comparison.plan import Key, Run, plan_runs, selected_runs, shown_runs, typed
from crossem.comparison.results import METRIC, comparison_document, is_finished, write_json
from crossem.comparison.runner import Progress, RunEnded, Slot, check_records, execute, find_slots, locked
from crossem.comparison.spec import Spec, load_spec, with_seeds

__all__ = [
    "METRIC",
    "Key",
    "Progress",
    "Run",
    "RunEnded",
    "Slot",
    "Spec",
    "check_labels",
    "check_records",
    "comparison_document",
    "data_facts",
    "earlier_results",
    "execute",
    "find_datalist",
    "find_slots",
    "is_finished",
    "load_spec",
    "locked",
    "plan_runs",
    "runs_to_do",
    "selected_runs",
    "shown_runs",
    "shown_volumes",
    "typed",
    "with_seeds",
    "write_json",
]
