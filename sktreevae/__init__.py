"""Tree variational autoencoders as a scikit-learn clustering estimator."""
__version__ = "0.1.0"
