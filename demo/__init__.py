"""The demonstration: a cluster is built in the lab, loses a GPU server, and heals itself while clients keep asking."""
