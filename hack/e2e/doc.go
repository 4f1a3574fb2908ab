// Package e2e tests the operator on a real cluster with real databases: `make test-e2e`, or
//
//		go test -tags e2e ./hack/e2e -run TestPause -v
//
//	 1. TestMain opens the cluster (see package env) and installs the operator of the working tree.
//	 2. Every test has a namespace of its own, which enforces restricted Pod Security, and a client pod that is no part of any Database.
//	 3. What a test breaks beyond its namespace it puts right; such tests do not run in parallel to others.
//	 4. A failed test leaves events, objects and logs in out/e2e/TEST.
//	 5. TestReplicated...Faults and TestAsynchronousReplicated...Faults break processes, nodes, the control plane and volumes of the local
//	    cluster, once each, while a checking client writes. `make test-faults` repeats them and makes a table:
//
//		go test -tags e2e ./hack/e2e -run 'Replicated.*Faults' -repeat 10 -faults 'node|pod' -outage 5m -results out/faults.json
//
//	 6. TestPlannedChanges does in the same way what people do on purpose.
//
// E2E_KEEP=1 keeps the local cluster that the tests brought up, and the namespaces of tests that failed.
package e2e
