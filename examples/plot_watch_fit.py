"""
Watching a fit
==============

``HistoryDisplay`` draws the ELBO and its terms over the epochs. Callbacks record them
for several fits, or end a phase of training.
"""

# %%
# ELBO and its terms
# ------------------
# In the first epochs, the weight of the divergences grows. The ELBO rises as the
# reconstruction improves.
import matplotlib.pyplot as plt
import sklearn
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.utils.fixes import parse_version

from sktreevae import TreeVAEClustering
from sktreevae.callbacks import EarlyStopping, ELBOMonitor
from sktreevae.display import HistoryDisplay

X = load_digits().data
model = TreeVAEClustering(n_clusters=10, max_iter=30, random_state=0).fit(X)
HistoryDisplay.from_estimator(model)
plt.show()
