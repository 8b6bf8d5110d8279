"""Faults in a run: from sites to what becomes of an inference, twice.

`sites` name bits, `fault_plan` checks them and sorts them by tile. The reference (`faulty_memory`,
`control` for damaged instructions) executes them byte by byte; `fault_run` works out what they
change and follows the difference: start there. Which faults are drawn, and what they are called, is
the business of `flexhyca.faults`.
"""
