from browser import browser  # noqa: F401  fixtures
from small_jobs import narrow_model, text_model, token_model  # noqa: F401
