# The demonstration: one workload on the system's malloc and on hakmem, and where the memory went.

$(BUILD)/run-usage: bench/run-usage.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $<

.PHONY: demo
demo: all $(BUILD)/run-usage
	@BUILD=$(BUILD) sh bench/demo.sh
