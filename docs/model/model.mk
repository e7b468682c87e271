# The model of the ledger's protocol. Included by the Makefile in the root.

.PHONY: check-model
## make check-model  the ledger's protocol, model-checked by spin (about a minute)
check-model:
	@sh docs/model/check.sh
