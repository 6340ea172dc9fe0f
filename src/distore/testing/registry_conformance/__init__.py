"""Asks any registry whether it keeps the OCI distribution specification 1.1, row by row.

As a program: ``python -m distore.testing.registry_conformance http://HOST:PORT/ --repository NAME``.
"""
