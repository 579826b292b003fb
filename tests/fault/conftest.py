from faults import injector, one_layer  # noqa: F401  fixtures
from small_jobs import token_model  # noqa: F401  fixture
