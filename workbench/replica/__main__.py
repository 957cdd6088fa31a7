"""`python -m workbench.replica CONFIG.json`: see `workbench.replica.process`."""

from workbench.replica.process import main

raise SystemExit(main())
