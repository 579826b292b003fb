from small_jobs import text_model, token_model  # noqa: F401  fixtures
