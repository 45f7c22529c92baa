"""What tp35 costs, beside what people would use instead; `python -m tests.benchmarks` measures.

Each benchmark runs its contenders interleaved in one process of its own, and checks first that all
of them do the same. Where they can be imported here, contenders are real packages.
"""
