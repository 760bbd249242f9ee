//! Runs a plan: intents before calls, records after them, node tasks along the same graph.
