"""What this machine reaches, part by part: python -m mjx_dm.bench.

    options    the command line
    cases      what one compiled program does, and how much of it
    measure    the rounds, and what share of its parts' rate the whole loop reaches
    report     the file
    table, plot            what people see of it
    profile    a trace of a few steps

All cases of a world count are compiled first (timed apart). One round that nobody looks at warms
them up; then each case runs once in every round, so that a machine whose load changes treats all of
them alike. Shares are those of a round; medians are taken last.
"""
