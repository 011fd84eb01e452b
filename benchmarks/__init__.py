import serving.runtime  # noqa: F401  before any import of onnxruntime, see there
