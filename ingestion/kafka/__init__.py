"""Kafka as a loader of bronze: events of invoices and countries, by Spark Structured Streaming. docs/loaders.md tells how."""
