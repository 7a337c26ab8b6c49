// corral-worker with the fake engine, for tests.
#include "engine/fake_engine.h"
#include "worker/host.h"

int main() { return corral::worker::RunHost(corral::engine::MakeFakeEngine); }
