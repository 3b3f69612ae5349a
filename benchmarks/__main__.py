"""Run all benchmarks; write ``docs/benchmarks/README.md``, and quote it in the README."""

from benchmarks import accuracy, iteration, many, minibatch, profiles, startup, update, wall_time
from benchmarks.report import machine, quote, save

QUESTIONS = (
    ("How many problems does it solve?", "profiles.md", profiles.main),
    ("What does an update cost?", "update.md", update.main),
    ("How exact is an update?", "accuracy.md", accuracy.main),
    ("What does an iteration cost?", "iteration.md", iteration.main),
    ("How long does a minimization take?", "wall_time.md", wall_time.main),
    ("How fast are many problems?", "many.md", many.main),
    ("How fast are mini-batches?", "minibatch.md", minibatch.main),
    ("How long until the first result?", "startup.md", startup.main),
)


def main() -> None:
    """Answer each question with a table."""
    parts = [f"{machine()} `python -m benchmarks` measures all of it again."]
    quoted = [machine()]
    for question, page, measure in QUESTIONS:
        print(f"\n{question}\n", flush=True)
        answer = measure()
        parts += [f"## {question}", answer, f"[What was measured, and how]({page})"]
        quoted += [f"**{question}**", answer]
    save("README.md", "\n\n".join(["# Benchmarks", *parts]))
    quote("\n\n".join(quoted))


if __name__ == "__main__":
    main()
