"""Server-side apply: who owns which field, and what follows from that when somebody writes."""
