# The model of the ledger's protocol. Included by the Makefile in the root.

.PHONY: check-model
## make check-model  the ledger's protocol, model-checked by spin (some minutes)
check-model:
	@sh docs/model/check.sh
