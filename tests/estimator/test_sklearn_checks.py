"""scikit-learn's own checks, with no exception."""

import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sktreevae import TreeVAEClustering

# The checks fit more than 80 times for each setting; short phases keep them quick.
QUICK = TreeVAEClustering(hidden_dim=8, latent_dim=2, max_iter=1)
SETTINGS = [
    TreeVAEClustering(),
    TreeVAEClustering(n_clusters=1, likelihood="gaussian", hidden_dim=16, max_iter=2),
    TreeVAEClustering(
        n_clusters=3,
        growth="iterative",
        split_criterion="elbo",
        max_depth=2,
        early_stopping=True,
        batch_size=32,
        hidden_dim=16,
        latent_dim=2,
        max_iter=3,
    ),
]

# In scikit-learn's own test suite, but not run by check_estimator.
FURTHER_CHECKS = [
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_set_output_transform",
    *(
        pytest.param(name, marks=pytest.mark.nightly)
        for name in (
            "check_set_output_transform_pandas",
            "check_set_output_transform_polars",
            "check_global_output_transform_pandas",
        )
    ),
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
    "check_requires_y_none",
]


@parametrize_with_checks([QUICK])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.nightly
@parametrize_with_checks(SETTINGS)
def test_check_estimator_in_other_settings(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", FURTHER_CHECKS)
def test_further_checks(name):
    check = getattr(estimator_checks, name)
    check("TreeVAEClustering", clone(QUICK))
