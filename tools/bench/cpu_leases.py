"""Three models of several hundred MB on the CPU, under a budget that holds two: memory by PSS, loads and bare loads."""

from __future__ import annotations

from statistics import median

from tools.bench.intake import workplace
from tools.bench.leases_at_work import Outcome, Size, Workplace, family_mb, run
from tools.bench.report import Figure, Report, spread

FULL = Size(weights_mb=500, width=2048, budget_mb=1600, footprint_mb=700, jobs=200, loads=5)


def cpu_leases(size: Size = FULL) -> Report:
    """Jobs that finish, memory within the budget, memory that is back, and what a cold load costs."""
    with workplace() as folder:
        outcome = run(Workplace(folder, size), memory=family_mb, spares=1)
    found = report("cpu_leases", "the CPU", size, outcome, own_mb=32)
    found.notes.append(
        "Memory: the host, its workers and its warm spares, by PSS. The host's own grows with its first jobs."
    )
    return found


def report(name: str, where: str, size: Size, outcome: Outcome, own_mb: float) -> Report:
    """The figures of a run; `own_mb` is what may stay behind that is no model's."""
    ratio = median(outcome.ours) / median(outcome.bare)
    share, more = outcome.peak_mb / size.budget_mb, outcome.end_mb - outcome.start_mb
    budget, start = f"budget {size.budget_mb} MB", f"at the start {outcome.start_mb:.0f} MB"
    figures = [
        Figure("most memory", f"{outcome.peak_mb:.0f} MB", budget, share, 1.05, False),
        Figure("memory after the last unload", f"{outcome.end_mb:.0f} MB", start, more, own_mb, False, "MB more"),
        Figure("cold load with a warm spare", spread(outcome.ours), spread(outcome.bare), ratio, 1.2, False),
    ]
    learned = ", ".join(f"{name} {mb:.0f} MB" for name, mb in outcome.learned.items())
    notes = [
        f"{outcome.loads} loads, {outcome.makespan:.0f} s. Declared {size.footprint_mb} MB each; learned {learned}.",
        "Beside the loads: the same weights read from the disk and the same model built, by a process of its own.",
    ]
    title = f"{size.jobs} mixed jobs for three models of {size.weights_mb} MB of weights on {where}, which holds two"
    return Report(name, title, outcome.unfinished, 0, figures, notes)
