"""The fault catalogue: cases.py is its table, and the tests of cases that have no better place are beside it."""
