// Package agent is PID 1 of a database container. It knows processes, files, HTTP and Kubernetes;
// what it knows of the engine it knows through a Driver.
//
// One goroutine, the loop, owns all that is known (observed) and decides with a pure function
// (nextStep) which one step comes next. A step runs in a goroutine of its own and hands its result
// back to the loop as a function; so do the watch of the DatabaseInstance, the health poll and the
// end of the engine. The loop therefore never waits, and its heartbeat is what /livez tells.
package agent
