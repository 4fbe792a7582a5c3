"""What tests of controllers need: virtual time, faults at the one door to the API server, a server in this process."""
