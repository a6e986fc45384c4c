"""Models behind an OpenAI-compatible server: asking one, and starting vLLM's own."""
