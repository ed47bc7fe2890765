# ./oms does the work; this file is for hands that type make.
demo run test check doctor:
	./oms $@
.PHONY: demo run test check doctor
