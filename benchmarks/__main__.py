"""Run all benchmarks and write ``docs/benchmarks/README.md``."""

from benchmarks import iteration, profiles, startup, wall_time
from benchmarks.report import machine, save

QUESTIONS = (
    ("How many problems does it solve?", "profiles.md", profiles.main),
    ("What does an iteration cost?", "iteration.md", iteration.main),
    ("How long does a minimization take?", "wall_time.md", wall_time.main),
    ("How long until the first result?", "startup.md", startup.main),
)


def main() -> None:
    """Answer each question with a table."""
    parts = ["# Benchmarks", f"{machine()} `python -m benchmarks` measures all of it again."]
    for question, page, measure in QUESTIONS:
        print(f"\n{question}\n", flush=True)
        parts += [f"## {question}", measure(), f"[What was measured, and how]({page})"]
    save("README.md", "\n\n".join(parts))


if __name__ == "__main__":
    main()
