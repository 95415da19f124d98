"""Airbyte on this machine: PyAirbyte runs a real connector, and its records land in the layout of Airbyte's destination."""
