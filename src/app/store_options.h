// Settings as the rooms' options, for the server and the commands that work without one.
#pragma once

#include "core/settings.h"
#include "models/store.h"
#include "registry/registry.h"

namespace corral::app {

models::StoreOptions StoreOptionsOf(const Settings& settings);
registry::Options RegistryOptionsOf(const Settings& settings);

}  // namespace corral::app
