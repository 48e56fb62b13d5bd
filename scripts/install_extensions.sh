#!/usr/bin/env bash
# Install torch_scatter and torch_sparse for the given Python: a wheel where there is one, else compiled (10-15 minutes).
#   bash scripts/install_extensions.sh .venv/bin/python
set -euo pipefail
python=${1:?usage: install_extensions.sh PYTHON}
cd "$(dirname "$0")/.."
torch=$("$python" -c 'import torch; print(torch.__version__)')
index="https://data.pyg.org/whl/torch-${torch%%+*}+$("$python" -c 'import torch; print("cu" + torch.version.cuda.replace(".", "") if torch.version.cuda else "cpu")').html"
if "$python" -m pip install --no-deps --only-binary=:all: -f "$index" -r requirements-extensions.txt; then
  echo "installed from wheels"
else
  echo "no wheels for torch $torch: compiling, which takes 10 to 15 minutes"
  # Without build isolation the extensions are compiled against the torch that is installed here.
  "$python" -m pip install setuptools wheel
  MAX_JOBS=${MAX_JOBS:-$(nproc)} "$python" -m pip install --no-deps --no-build-isolation -r requirements-extensions.txt
fi
"$python" -c 'import torch_scatter, torch_sparse; print("torch_scatter", torch_scatter.__version__, "torch_sparse", torch_sparse.__version__)'
