#include "app/store_options.h"

#include "api/version.h"
#include "core/host.h"

namespace corral::app {

models::StoreOptions StoreOptionsOf(const Settings& settings) {
  models::StoreOptions options;
  options.is_prune_enabled = !settings.no_prune;
  options.go_template = settings.go_template;
  options.is_read_only = settings.is_models_read_only;
  options.more_folders.assign(settings.more_models.begin(), settings.more_models.end());
  if (settings.store_locks == "flock") options.locks = models::StoreLocks::kFlock;
  if (settings.store_locks == "leases") options.locks = models::StoreLocks::kLeases;
  return options;
}

registry::Options RegistryOptionsOf(const Settings& settings) {
  registry::Options options;
  options.user_agent = UserAgent(api::kOllamaVersion, CORRAL_VERSION);
  options.mirror = settings.registry_mirror;
  options.environment = ProcessEnvironment();
  options.ca_file = settings.ca_file;
  options.key_file = settings.signing_key;
  options.auth_file = settings.registry_auth;
  options.allowed = settings.registries;
  return options;
}

}  // namespace corral::app
