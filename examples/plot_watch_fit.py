"""
Watching a fit
==============

``HistoryDisplay`` draws the ELBO and its terms over the epochs. Callbacks, which need
scikit-learn 1.9, end a phase of training or record the epochs of several fits.
"""

# %%
# ELBO and its terms
# ------------------
# The upper panel has the ELBO and its reconstruction term, the lower panel the
# divergences that are subtracted from it.
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from sktreevae import TreeVAEClustering
from sktreevae.callbacks import EarlyStopping, ELBOMonitor
from sktreevae.display import HistoryDisplay

X = load_digits().data[:800] / 16
model = TreeVAEClustering(n_clusters=10, max_iter=40, random_state=0).fit(X)
HistoryDisplay.from_estimator(model)
plt.show()

# %%
# Stop when nothing improves
# --------------------------
# The phase ends after three epochs without an improvement of 0.2 nats.
stopped = TreeVAEClustering(n_clusters=10, max_iter=40, random_state=0)
stopped.set_callbacks(EarlyStopping(patience=3, tol=0.2)).fit(X)
print(f"epochs: {model.n_iter_} and, with EarlyStopping, {stopped.n_iter_}")
print(f"ELBO:   {model.score(X):.2f} and {stopped.score(X):.2f}")

# %%
# Compare the fits of a search
# ----------------------------
# ``ELBOMonitor`` keeps the epochs of all fits. Each line is one fit.
monitor = ELBOMonitor()
estimator = TreeVAEClustering(n_clusters=10, max_iter=15, random_state=0)
estimator.set_callbacks(monitor)
search = GridSearchCV(estimator, {"latent_dim": [2, 8]}, cv=2, refit=False).fit(X)
curves = {}
for log in monitor.get_logs():
    curves.setdefault(log["task_id_path"][:-1], []).append(log["elbo"])

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for number, curve in enumerate(curves.values()):
    latent_dim = search.cv_results_["params"][number // 2]["latent_dim"]
    label = f"latent_dim={latent_dim}, fold {number % 2}"
    ax.plot(curve, color=f"C{number // 2}", ls=["-", "--"][number % 2], label=label)
ax.set(xlabel="epoch", ylabel="ELBO (nats)")
ax.legend()
plt.show()
