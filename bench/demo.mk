# The demonstration: one workload on the system's malloc and on hakmem, and where the memory went.

$(BUILD)/run-usage: bench/run-usage.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $<

.PHONY: demo
## make demo         a private daemon, the workload on glibc and on hakmem in turn, what served it, what came back
demo: all $(BUILD)/run-usage
	@BUILD=$(BUILD) sh bench/demo.sh
