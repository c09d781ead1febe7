"""
Table with numbers and categories: penguins
===========================================

The table has four measurements, the island and the sex of 333 penguins. With one-hot
encoded columns, the likelihood is mixed: numbers are Gaussian, and categories
categorical. Samples from the model are therefore valid rows of the table.

The data (Horst, Hill and Gorman, palmerpenguins, 2020) is in ``examples/data``.
"""

# %%
# Fit
# ---
# The species is not used in the fit.
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sktreevae import TreeVAEClustering
from sktreevae.display import ProfileDisplay, SplitDisplay, TreeDisplay

# Notebooks and the build of the documentation have no __file__, and run here.
folder = Path(globals().get("__file__", "")).parent / "data"
table = pd.read_csv(folder / "penguins.csv").dropna()
numeric = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
encoder = OneHotEncoder(sparse_output=False)
columns = make_column_transformer(
    (StandardScaler(), numeric),
    (encoder, ["island", "sex"]),
    verbose_feature_names_out=False,
).set_output(transform="pandas")
X = table.drop(columns="species")
pipeline = make_pipeline(columns, TreeVAEClustering(n_clusters=6, random_state=0))
model = pipeline.fit(X)[-1]
print("likelihood:", model.likelihood_)

# %%
# The tree
# --------
# Species are subtrees, and the sexes of a species are leaves.
TreeDisplay.from_estimator(pipeline, X, y=table["species"] + ", " + table["sex"])
plt.show()

# %%
# Profiles of the clusters
# ------------------------
# Cells are the means of the clusters, in standard deviations from the mean penguin. The
# columns are those of the table before the steps of the pipeline.
ProfileDisplay.from_estimator(pipeline, X)
plt.show()

# %%
# What the first split is about
# -----------------------------
# Means are in the units of the table.
SplitDisplay.from_estimator(pipeline, 0, X)
plt.show()

# %%
# Generated penguins
# ------------------
# One-hot encoded columns of a sample have exactly one 1, so that they can be decoded.
drawn, labels = model.sample(300)
new = pd.DataFrame(drawn, columns=columns.get_feature_names_out())
scaler = columns.named_transformers_["standardscaler"]
sampled = pd.DataFrame(scaler.inverse_transform(new[numeric]), columns=numeric)
encoded = columns.named_transformers_["onehotencoder"]
sampled[["island", "sex"]] = encoded.inverse_transform(new.iloc[:, len(numeric) :])
print(sampled.head().round(1).to_string())

fig, axes = plt.subplots(
    1, 2, figsize=(9, 4), sharex=True, sharey=True, layout="constrained"
)
for ax, rows, title in zip(axes, (table, sampled), ("data", "samples"), strict=True):
    for island, part in rows.groupby("island"):
        ax.scatter(part[numeric[2]], part[numeric[0]], s=8, label=island)
    ax.set(title=title, xlabel="flipper length (mm)", ylabel="bill length (mm)")
axes[0].legend(title="island")
plt.show()
