# What people of this project run. Each target sets up what it needs.
.PHONY: demo test test-tools test-connector test-stories story fuzz bench lint

# Large packages that only tools and tests need are compiled without optimization, in half the time.
PLAIN = github.com/pulumi/pulumi/pkg/v3 github.com/aws/aws-sdk-go-v2 github.com/aws/smithy-go cloud.google.com github.com/Azure \
	github.com/AzureAD github.com/alecthomas github.com/yuin google.golang.org/api gocloud.dev charm.land
ifeq ($(MAKELEVEL),0)
export GOFLAGS := $(GOFLAGS) $(foreach packages,$(PLAIN),"-gcflags=$(packages)/...=-N -l")
endif

CACHE = $${XDG_CACHE_HOME:-$$HOME/.cache}/esc-connector-lambda-go

demo: ## the whole road on this machine, step by step
	@e2e/setup.sh demo
	@cd e2e && exec $(CACHE)/bin/demo

test: ## every test, of both modules side by side
	@$(MAKE) --no-print-directory -j2 test-connector test-stories

test-tools:
	@e2e/setup.sh test

# Tests wait for servers and for each other, and so more run at once than there are processors.
test-connector: test-tools
	go test -p $$(($$(nproc) * 2)) ./...
	@$(MAKE) --no-print-directory fuzz

FUZZTIME = 15s
fuzz: ## servers that say anything, for so long on each protocol: make fuzz FUZZTIME=10m
	for engine in postgres mysql; do \
		go test -run '^$$' -fuzz FuzzServerSaysAnything -fuzztime $(FUZZTIME) -fuzzminimizetime 1s -parallel 1 -timeout 0 ./lambda/$$engine || exit; \
	done

# Go would take a story's last result for today's: it does not see that the program, which is another module, has changed.
test-stories: test-tools
	cd e2e && go test -count=1 -timeout 40m -parallel $$(($$(nproc) + 1)) ./...

story: test-tools ## one story: make story NAME=road-postgres
	cd e2e && go test -count=1 -run 'Test(Stories|Readme)/stories/$(NAME)$$' -v .

bench: ## ours against the least possible, as one table
	@e2e/setup.sh demo
	@cd e2e && go run ./cmd/bench

lint: ## formatting, vet, staticcheck and golangci-lint
	@e2e/lint.sh
