"""The model once more: one sample, one node and one number at a time, in numpy."""

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(-abs(x))) + max(x, 0.0)


def rectify(x):
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return np.where(x > 0, x, 0.3 * x)


def perceptron(stack, i, x):
    """Apply the i-th perceptron of a stack to one vector."""
    weights = [w[i].numpy(force=True) for w in stack.weights]
    biases = [b[i, 0].numpy(force=True) for b in stack.biases]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = rectify(x @ weight + bias)
    return x @ weights[-1] + biases[-1]


def decode(decoders, i, z):
    """Apply the i-th leaf's decoder to one vector."""
    readout = decoders.readout
    hidden = rectify(perceptron(decoders.hidden, i, z))
    output = readout.weight.numpy(force=True) @ hidden + readout.bias.numpy(force=True)
    if decoders.loadings is not None:
        output = output + z @ decoders.loadings[i].numpy(force=True)
    return output + decoders.constant[i, 0].numpy(force=True)


def sequential(layers, x):
    """Apply linear, normalising and rectifying layers to one vector."""
    layers = list(layers)
    for linear, norm, _ in zip(layers[::3], layers[1::3], layers[2::3], strict=True):
        x = linear.weight.numpy(force=True) @ x + linear.bias.numpy(force=True)
        x = (x - x.mean()) / np.sqrt(x.var() + norm.eps)
        x = x * norm.weight.numpy(force=True) + norm.bias.numpy(force=True)
        x = np.where(x > 0, x, 0.3 * x)
    return x


def mean_and_variance(raw):
    half = len(raw) // 2
    return raw[:half], np.array([softplus(r) + 1e-4 for r in raw[half:]])


def gaussian_kl(mean_q, var_q, mean_p, var_p):
    return sum(
        0.5 * (np.log(vp / vq) + (vq + (mq - mp) ** 2) / vp - 1.0)
        for mq, vq, mp, vp in zip(mean_q, var_q, mean_p, var_p, strict=True)
    )


def bernoulli_kl(q, p):
    return q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))


def log_likelihood(model, leaf, output, x):
    likelihood = model.top_down.likelihood
    if hasattr(likelihood, "raw_variance"):
        raw = likelihood.raw_variance[leaf, 0].numpy(force=True)
        variance = [softplus(10.0 * r) + 1e-3 for r in raw]
        return sum(
            -0.5 * (np.log(2 * np.pi * v) + (xi - m) ** 2 / v)
            for xi, m, v in zip(x, output, variance, strict=True)
        )
    return sum(
        xi * -softplus(-o) + (1 - xi) * -softplus(o)
        for xi, o in zip(x, output, strict=True)
    )


def elbo_terms(model, x, noise):
    """Return the four terms for one sample; noise is (n_levels, latent_dim)."""
    tree, top_down = model.topology, model.top_down
    center = model.bottom_up.center.numpy(force=True)
    scale, width, log_scale = (
        getattr(model.bottom_up, name).item()
        for name in ("scale", "width", "log_scale")
    )
    linear = (x - center) / scale
    compressed = np.arcsinh((x - center) / width) / log_scale
    standardized = np.concatenate([linear, compressed])
    embeddings = [sequential(model.bottom_up.perceptron, standardized)]
    for step in model.bottom_up.chain:
        embeddings.append(sequential(step, embeddings[-1]))
    embeddings.reverse()
    terms = dict.fromkeys(
        ("reconstruction", "kl_root", "kl_nodes", "kl_decisions"), 0.0
    )

    def visit(node, depth, probability, z_parent):
        embedding = embeddings[min(depth, len(embeddings) - 1)]
        head_input = embedding
        if model.config.likelihood == "gaussian":
            head_input = np.concatenate([embedding, x])
        if node == 0:
            head = model.root_head
            raw = head.weight.numpy(force=True) @ head_input
            mean_q, var_q = mean_and_variance(raw + head.bias.numpy(force=True))
            mean_p, var_p = np.zeros_like(mean_q), np.ones_like(var_q)
            terms["kl_root"] += probability * gaussian_kl(mean_q, var_q, mean_p, var_p)
        else:
            raw = perceptron(top_down.transformations, node - 1, z_parent)
            mean_p, var_p = mean_and_variance(raw)
            mean_p = mean_p + z_parent
            raw = perceptron(top_down.heads, node - 1, head_input)
            mean_hat, var_hat = mean_and_variance(raw)
            var_q = 1.0 / (1.0 / var_hat + 1.0 / var_p)
            mean_q = var_q * (mean_hat / var_hat + mean_p / var_p)
            terms["kl_nodes"] += probability * gaussian_kl(mean_q, var_q, mean_p, var_p)
        z = mean_q + np.sqrt(var_q) * noise[depth]
        children = tree.children[node]
        if not children:
            leaf = tree.leaves.index(node)
            output = decode(top_down.decoders, leaf, z)
            terms["reconstruction"] += probability * log_likelihood(
                model, leaf, output, x
            )
        elif len(children) == 1:
            visit(children[0], depth + 1, probability, z)
        else:
            router = tree.splits.index(node)
            q = sigmoid(perceptron(top_down.q_routers, router, embedding)[0])
            p = sigmoid(perceptron(top_down.p_routers, router, z)[0])
            terms["kl_decisions"] += probability * bernoulli_kl(q, p)
            visit(children[0], depth + 1, probability * q, z)
            visit(children[1], depth + 1, probability * (1 - q), z)

    visit(0, 0, 1.0, None)
    return terms
