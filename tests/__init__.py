"""The tests, by what they need.

unit/       values in, values out; no process, no broker, no network
protocol/   the pure core: laws, scenarios, a seeded in-memory cluster
storage/    SQLite files, the replication log, each log format; in temporary folders
replica/    one replica's storage: snapshots, rewinds, what is dropped; killed, or without power, at any point
client/     sessions and the load generator, against replicas in memory that are no more than their answers
transport/  a broker on loopback
inspection/ logs, explanations and differences, read from files and databases; no process
cluster/    whole clusters of real processes
browser/    notebooks in a real browser

Rules. A test holds a claim: it fails when the claim is broken, and its name says the claim. No sleeping where an event
can be awaited; no statement about how long something takes; loopback only; what a test starts, it ends. Randomness
comes from a seed, and a failure prints it. One contract suite per interface runs against each implementation. Warnings
are errors. A test that needs a program says so (see programs.py). `make test` runs all; one file:
`.venv/bin/python -m pytest tests/unit/test_house.py`.
"""
