# Prints the targets of a Makefile: "##@ Section" starts a section, "target: ## text" is a line of it.
BEGIN { FS = ":.*## " }
/^##@ / { printf "\n%s\n", substr($0, 5) }
/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $1, $2 }
