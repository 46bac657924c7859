"""The demonstration: the whole product at work on this machine, on real servers that last as long as it runs."""
