#include "core/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

namespace corral {
namespace {

using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr nanoseconds kForEver = nanoseconds::max();

struct Reading {
  Settings settings;
  std::vector<std::string> warnings;
};

Reading Read(std::map<std::string, std::string> variables) {
  variables.emplace("HOME", "/home/user");
  std::vector<std::string> names;
  for (const auto& [name, value] : variables) names.push_back(name);
  const Environment environment = [&](std::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(std::string(name));
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  Reading reading;
  reading.settings = ReadSettings(environment, names, &reading.warnings);
  return reading;
}

TEST(Settings, DefaultsAreQuiet) {
  const Reading reading = Read({});
  const Settings& settings = reading.settings;
  EXPECT_THAT(reading.warnings, IsEmpty());
  EXPECT_EQ(settings.log_level, LogLevel::kInfo);
  EXPECT_EQ(settings.host.Url(), "http://127.0.0.1:11434");
  EXPECT_EQ(settings.client_host.Url(), "http://127.0.0.1:11434");
  EXPECT_EQ(settings.context_length, 0U);
  EXPECT_EQ(settings.keep_alive, minutes(5));
  EXPECT_EQ(settings.max_queue, 512U);
  EXPECT_EQ(settings.models, "/home/user/.ollama/models");
  EXPECT_EQ(settings.num_parallel, 0U);
  EXPECT_EQ(settings.flash_attention, std::nullopt);
  EXPECT_EQ(settings.load_timeout, minutes(5));
  EXPECT_EQ(settings.log_format, "text");
  EXPECT_EQ(settings.max_body_bytes, 134'217'728U);
  EXPECT_EQ(settings.prefix_cache_bytes, std::nullopt);
  EXPECT_EQ(settings.shutdown_grace, seconds(8));
}

TEST(CleanValue, StripsBlanksThenQuotes) {
  EXPECT_EQ(CleanValue(" value "), "value");
  EXPECT_EQ(CleanValue(" 'value' "), "value");
  EXPECT_EQ(CleanValue(" \"value\" "), "value");
  EXPECT_EQ(CleanValue(" ' value ' "), " value ");
  EXPECT_EQ(CleanValue(" \" value \" "), " value ");
  EXPECT_EQ(CleanValue("\"'value'\""), "value");
  EXPECT_EQ(CleanValue("''"), "");
  EXPECT_EQ(CleanValue("\" 'x' \""), " 'x' ");
}

TEST(ParseBool, TakesAllOtherTextAsTrue) {
  for (const char* text : {"0", "f", "F", "FALSE", "false", "False"})
    EXPECT_FALSE(ParseBool(text, true)) << text;
  for (const char* text : {"1", "t", "T", "TRUE", "true", "True", "random", "off", "no", "yes"}) {
    EXPECT_TRUE(ParseBool(text, false)) << text;
  }
  EXPECT_FALSE(ParseBool("", false));
  EXPECT_TRUE(ParseBool("", true));
}

TEST(Settings, WarnsOfABoolThatReadsAsTheOppositeOfWhatItSays) {
  const Reading reading = Read({{"OLLAMA_NOPRUNE", "off"}});
  EXPECT_TRUE(reading.settings.no_prune);
  EXPECT_THAT(reading.warnings, ElementsAre(HasSubstr("OLLAMA_NOPRUNE=\"off\" is read as true")));
  EXPECT_THAT(Read({{"OLLAMA_NOPRUNE", "1"}}).warnings, IsEmpty());
}

TEST(Settings, AnEmptyValueIsAsIfUnset) {
  const Reading reading = Read(
      {{"OLLAMA_MAX_QUEUE", " '' "}, {"OLLAMA_KEEP_ALIVE", " "}, {"OLLAMA_FLASH_ATTENTION", ""}});
  EXPECT_EQ(reading.settings.max_queue, 512U);
  EXPECT_EQ(reading.settings.keep_alive, minutes(5));
  EXPECT_EQ(reading.settings.flash_attention, std::nullopt);
  EXPECT_THAT(reading.warnings, IsEmpty());
}

TEST(Settings, ReadsWholeNumbers) {
  EXPECT_EQ(Read({{"OLLAMA_MAX_QUEUE", "0"}}).settings.max_queue, 0U);
  EXPECT_EQ(Read({{"OLLAMA_MAX_QUEUE", "1337"}}).settings.max_queue, 1337U);
  EXPECT_EQ(Read({{"OLLAMA_NUM_PARALLEL", "'4'"}}).settings.num_parallel, 4U);
  EXPECT_EQ(Read({{"OLLAMA_NUM_PARALLEL", "0"}}).settings.num_parallel, 0U);
}

TEST(Settings, ABadNumberFallsBackWithAWarning) {
  for (const char* text :
       {"default", "-1", "0o10", "0x10", "string", "1.5", "18446744073709551616"}) {
    const Reading reading = Read({{"OLLAMA_MAX_QUEUE", text}});
    EXPECT_EQ(reading.settings.max_queue, 512U) << text;
    EXPECT_THAT(
        reading.warnings,
        ElementsAre(HasSubstr("invalid environment variable, using default: OLLAMA_MAX_QUEUE=")));
  }
}

TEST(Settings, PortSetsThePortOnlyWhereTheHostNamesNone) {
  EXPECT_EQ(Read({{"OLLAMA_PORT", "1337"}}).settings.host.Url(), "http://127.0.0.1:1337");
  EXPECT_EQ(Read({{"OLLAMA_PORT", "0"}}).settings.host.port, 0);
  EXPECT_EQ(Read({{"OLLAMA_PORT", "1337"}, {"OLLAMA_HOST", "0.0.0.0"}}).settings.host.Url(),
            "http://0.0.0.0:1337");
  EXPECT_EQ(Read({{"OLLAMA_PORT", "1337"}, {"OLLAMA_HOST", "0.0.0.0:1"}}).settings.host.Url(),
            "http://0.0.0.0:1");
  EXPECT_EQ(Read({{"OLLAMA_PORT", "1337"}}).settings.client_host.port, 1337);
  for (const char* text : {"default", "-1", "0o10", "0x10", "string", "1.5", "65536"}) {
    const Reading reading = Read({{"OLLAMA_PORT", text}});
    EXPECT_EQ(reading.settings.host.port, 11434) << text;
    EXPECT_THAT(reading.warnings, ElementsAre(HasSubstr("OLLAMA_PORT=")));
  }
}

TEST(Settings, BaseUrlIsForTheClientAndComesAfterHost) {
  const Settings base = Read({{"OLLAMA_BASE_URL", "http://ollama:11434"}}).settings;
  EXPECT_EQ(base.client_host.Url(), "http://ollama:11434");
  EXPECT_EQ(base.host.Url(), "http://127.0.0.1:11434");
  const Settings both =
      Read({{"OLLAMA_BASE_URL", "http://ollama:11434"}, {"OLLAMA_HOST", "other:1"}}).settings;
  EXPECT_EQ(both.client_host.Url(), "http://other:1");
  EXPECT_EQ(both.host.Url(), "http://other:1");
  const Settings port = Read({{"OLLAMA_BASE_URL", "ollama"}, {"OLLAMA_PORT", "1337"}}).settings;
  EXPECT_EQ(port.client_host.Url(),
            "http://ollama:11434");  // OLLAMA_PORT is the port of this server
  EXPECT_EQ(port.host.port, 1337);
}

TEST(Settings, ABadPortOfTheHostIsAWarning) {
  const Reading reading = Read({{"OLLAMA_HOST", ":66000"}});
  EXPECT_EQ(reading.settings.host.port, 11434);
  EXPECT_THAT(reading.warnings,
              ElementsAre("OLLAMA_HOST: invalid port \"66000\", using default 11434"));
}

nanoseconds KeepAlive(const char* text) {
  return Read({{"OLLAMA_KEEP_ALIVE", text}}).settings.keep_alive;
}

TEST(KeepAlive, ReadsDurationsAndSeconds) {
  EXPECT_EQ(KeepAlive("1s"), seconds(1));
  EXPECT_EQ(KeepAlive("1m"), seconds(60));
  EXPECT_EQ(KeepAlive("1h"), seconds(3600));
  EXPECT_EQ(KeepAlive("60"), seconds(60));
  EXPECT_EQ(KeepAlive("120"), seconds(120));
  EXPECT_EQ(KeepAlive("1h2m3s"), seconds(3723));
}

TEST(KeepAlive, ABadValueFallsBackWithAWarning) {
  for (const char* text : {"???", "1d", "1y", "1mo"}) {
    const Reading reading = Read({{"OLLAMA_KEEP_ALIVE", text}});
    EXPECT_EQ(reading.settings.keep_alive, minutes(5)) << text;
    EXPECT_THAT(reading.warnings, ElementsAre(HasSubstr("OLLAMA_KEEP_ALIVE=")));
  }
}

TEST(KeepAlive, ABareZeroIsForEverAndSaysSo) {
  for (const char* text : {"0", "-0", "'0'"}) {
    const Reading reading = Read({{"OLLAMA_KEEP_ALIVE", text}});
    EXPECT_EQ(reading.settings.keep_alive, kForEver) << text;
    EXPECT_THAT(reading.warnings, ElementsAre(HasSubstr("keeps models loaded for ever")));
  }
}

TEST(KeepAlive, AZeroWithAUnitUnloadsWhenIdle) {
  for (const char* text : {"0s", "0m", "-0s"}) {
    const Reading reading = Read({{"OLLAMA_KEEP_ALIVE", text}});
    EXPECT_EQ(reading.settings.keep_alive, nanoseconds(0)) << text;
    EXPECT_THAT(reading.warnings, IsEmpty());
  }
}

TEST(KeepAlive, NegativeIsForEver) {
  EXPECT_EQ(KeepAlive("-1"), kForEver);
  EXPECT_EQ(KeepAlive("-1m"), kForEver);
  EXPECT_EQ(KeepAlive("-3600"), kForEver);
  EXPECT_EQ(KeepAlive("-9223372036854775808"), kForEver);
}

TEST(KeepAlive, SecondsThatDontFitAreTheMost) {
  EXPECT_GT(KeepAlive("9223372036854775807"), std::chrono::hours(24 * 365 * 200));
}

TEST(LoadTimeout, ZeroAndLessIsNone) {
  const auto timeout = [](const char* text) {
    return Read({{"OLLAMA_LOAD_TIMEOUT", text}}).settings.load_timeout;
  };
  EXPECT_EQ(timeout("0"), nanoseconds(0));
  EXPECT_EQ(timeout("-1"), nanoseconds(0));
  EXPECT_EQ(timeout("-0"), nanoseconds(0));
  EXPECT_EQ(timeout("60"), seconds(60));
  EXPECT_EQ(timeout("2m"), seconds(120));
  EXPECT_EQ(timeout("???"), minutes(5));
}

TEST(Debug, HasBoolsAndLevels) {
  const auto level = [](const char* text) {
    return Read({{"OLLAMA_DEBUG", text}}).settings.log_level;
  };
  for (const char* text : {"", "false", "0", "f"}) EXPECT_EQ(level(text), LogLevel::kInfo) << text;
  for (const char* text : {"true", "1", "t"}) EXPECT_EQ(level(text), LogLevel::kDebug) << text;
  EXPECT_EQ(level("2"), LogLevel::kTrace);
  EXPECT_EQ(level("9"), LogLevel::kTrace);
  EXPECT_EQ(level("-1"), LogLevel::kWarn);
  EXPECT_EQ(level("-2"), LogLevel::kError);
  EXPECT_EQ(level("-9"), LogLevel::kError);
  EXPECT_EQ(level("abc"), LogLevel::kInfo);
  EXPECT_THAT(Read({{"OLLAMA_DEBUG", "abc"}}).warnings, ElementsAre(HasSubstr("OLLAMA_DEBUG=")));
}

TEST(Settings, ListsAreTrimmedAndWithoutEmptyParts) {
  const Settings settings = Read({{"OLLAMA_ORIGINS", "http://10.0.0.1, https://x.y ,,"},
                                  {"CORRAL_ALLOWED_HOSTS", "ollama"}})
                                .settings;
  EXPECT_THAT(settings.origins, ElementsAre("http://10.0.0.1", "https://x.y"));
  EXPECT_THAT(settings.allowed_hosts, ElementsAre("ollama"));
}

TEST(Settings, FlashAttentionHasThreeStates) {
  const auto flash = [](const char* text) {
    return Read({{"OLLAMA_FLASH_ATTENTION", text}}).settings.flash_attention;
  };
  EXPECT_EQ(flash("1"), std::optional(true));
  EXPECT_EQ(flash("0"), std::optional(false));
  EXPECT_EQ(flash("maybe"), std::optional(true));
}

TEST(Settings, TheCacheTypeIsLowerCaseAndChecked) {
  EXPECT_EQ(Read({{"OLLAMA_KV_CACHE_TYPE", "Q8_0"}}).settings.kv_cache_type, "q8_0");
  const Reading bad = Read({{"OLLAMA_KV_CACHE_TYPE", "q9"}});
  EXPECT_EQ(bad.settings.kv_cache_type, "");
  EXPECT_THAT(bad.warnings, ElementsAre(HasSubstr("one of f32, f16")));
}

TEST(Settings, ModelsMayLieInSeveralFolders) {
  const Settings several =
      Read({{"OLLAMA_MODELS", "/old"}, {"CORRAL_MODELS", "/data:/shared:ro:/more/"}}).settings;
  EXPECT_EQ(several.models, "/data");
  EXPECT_FALSE(several.is_models_read_only);
  EXPECT_THAT(several.more_models, ElementsAre("/shared", "/more/"));
  const Settings one = Read({{"CORRAL_MODELS", "/data:ro"}}).settings;
  EXPECT_EQ(one.models, "/data");
  EXPECT_TRUE(one.is_models_read_only);
  EXPECT_THAT(one.more_models, IsEmpty());
  const Reading bad = Read({{"CORRAL_MODELS", "ro:/data"}, {"CORRAL_STORE_LOCKS", "LEASES"}});
  EXPECT_EQ(bad.settings.models, "/home/user/.ollama/models");
  EXPECT_THAT(bad.warnings, ElementsAre(HasSubstr("separated by ':'")));
  EXPECT_EQ(bad.settings.store_locks, "leases");
}

TEST(Settings, OurOwnAreRead) {
  const Reading reading = Read({{"CORRAL_LOG_FORMAT", "JSON"},
                                {"CORRAL_MAX_BODY", "1g"},
                                {"CORRAL_PREFIX_CACHE", "0"},
                                {"CORRAL_PREFIX_SALT", "Per-Key"},
                                {"CORRAL_WORKER", "/opt/corral-worker"},
                                {"CORRAL_SHUTDOWN_GRACE", "1m"}});
  EXPECT_THAT(reading.warnings, IsEmpty());
  EXPECT_EQ(reading.settings.log_format, "json");
  EXPECT_EQ(reading.settings.max_body_bytes, 1ULL << 30);
  EXPECT_EQ(reading.settings.prefix_cache_bytes, std::optional<std::uint64_t>(0));
  EXPECT_TRUE(reading.settings.prefix_salt_per_key);
  EXPECT_EQ(reading.settings.worker, "/opt/corral-worker");
  EXPECT_EQ(reading.settings.shutdown_grace, minutes(1));
}

TEST(Settings, BadOnesOfOursFallBack) {
  const Reading reading = Read({{"CORRAL_LOG_FORMAT", "xml"},
                                {"CORRAL_MAX_BODY", "0"},
                                {"CORRAL_PREFIX_CACHE", "much"},
                                {"CORRAL_PREFIX_SALT", "pepper"},
                                {"CORRAL_SHUTDOWN_GRACE", "-1s"}});
  EXPECT_EQ(reading.warnings.size(), 5U);
  EXPECT_FALSE(reading.settings.prefix_salt_per_key);
  EXPECT_EQ(reading.settings.log_format, "text");
  EXPECT_EQ(reading.settings.max_body_bytes, 134'217'728U);
  EXPECT_EQ(reading.settings.prefix_cache_bytes, std::nullopt);
  EXPECT_EQ(reading.settings.shutdown_grace, seconds(8));
}

TEST(Settings, ModelsFolderIsTakenAsItIs) {
  EXPECT_EQ(Read({{"OLLAMA_MODELS", "/data"}}).settings.models, "/data");
  const Reading tilde = Read({{"OLLAMA_MODELS", "~/models"}});
  EXPECT_EQ(tilde.settings.models, "~/models");
  EXPECT_THAT(tilde.warnings, ElementsAre(HasSubstr("OLLAMA_MODELS")));
}

TEST(Settings, WithoutHomeAskForTheModelsFolder) {
  std::vector<std::string> warnings;
  const Environment nothing = [](std::string_view) { return std::nullopt; };
  EXPECT_EQ(ReadSettings(nothing, {}, &warnings).models, "");
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("HOME is not set")));
}

TEST(Settings, UnknownNamesGiveTheNearestKnownOne) {
  EXPECT_THAT(
      Read({{"OLLAMA_KEEPALIVE", "secret"}}).warnings,
      ElementsAre(
          "unknown environment variable \"OLLAMA_KEEPALIVE\", did you mean OLLAMA_KEEP_ALIVE?"));
  EXPECT_THAT(Read({{"CORRAL_KEEP_ALIVE", "5m"}}).warnings,
              ElementsAre(HasSubstr("did you mean OLLAMA_KEEP_ALIVE?")));
  EXPECT_THAT(Read({{"OLLAMA_LOG_FORMAT", "json"}}).warnings,
              ElementsAre(HasSubstr("did you mean CORRAL_LOG_FORMAT?")));
  EXPECT_THAT(Read({{"OLLAMA_SOMETHING_ELSE_ENTIRELY", "1"}}).warnings,
              ElementsAre("unknown environment variable \"OLLAMA_SOMETHING_ELSE_ENTIRELY\""));
  EXPECT_THAT(Read({{"OLLAMA_" + std::string(100'000, 'X'), "1"}}).warnings, testing::SizeIs(1));
  EXPECT_THAT(Read({{"PATH", "/bin"}, {"OLLAMA", "1"}}).warnings, IsEmpty());
}

TEST(Settings, ServicesOfKubernetesAreNobodysSettings) {
  const Reading reading = Read({{"OLLAMA_PORT", "tcp://10.0.0.1:11434"},
                                {"OLLAMA_PORT_11434_TCP_ADDR", "10.0.0.1"},
                                {"OLLAMA_SERVICE_HOST", "10.0.0.1"},
                                {"CORRAL_PORT", "tcp://10.0.0.2:11434"},
                                {"CORRAL_SERVICE_PORT", "11434"}});
  EXPECT_THAT(reading.warnings, IsEmpty());
  EXPECT_EQ(reading.settings.host.Url(), "http://127.0.0.1:11434");
}

TEST(Settings, KnownNamesWithoutEffectSaySo) {
  for (const char* name :
       {"OLLAMA_LLM_LIBRARY", "OLLAMA_VULKAN", "OLLAMA_SCHED_SPREAD", "OLLAMA_GPU_OVERHEAD",
        "OLLAMA_IGPU_ENABLE", "OLLAMA_REMOTES", "OLLAMA_AUTH", "OLLAMA_MAX_TRANSFER_STREAMS",
        "OLLAMA_DEBUG_LOG_REQUESTS", "OLLAMA_EXPERIMENT", "OLLAMA_CLOUD_BASE_URL",
        "OLLAMA_AGENT_DISABLE_SHELL", "OLLAMA_SKILLS"}) {
    EXPECT_THAT(Read({{name, "1"}}).warnings, ElementsAre(HasSubstr("has no effect"))) << name;
  }
}

TEST(Settings, EveryUsedNameIsAcceptedWithoutAWarningOfItsName) {
  for (const SettingInfo& info : SettingTable()) {
    if (!info.is_used) continue;
    for (const std::string& warning : Read({{std::string(info.name), "1"}}).warnings) {
      EXPECT_THAT(warning, testing::Not(HasSubstr("unknown"))) << info.name;
    }
  }
}

TEST(SettingTable, NamesAreUnique) {
  std::set<std::string_view> names;
  for (const SettingInfo& info : SettingTable())
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
}

TEST(Settings, WarningsMayBeNull) {
  const Environment environment = [](std::string_view name) -> std::optional<std::string> {
    return name == "OLLAMA_MAX_QUEUE" || name == "OLLAMA_PORT" ? std::optional<std::string>("x")
                                                               : std::nullopt;
  };
  const std::vector<std::string> names = {"OLLAMA_X"};
  EXPECT_EQ(ReadSettings(environment, names, nullptr).max_queue, 512U);
}

TEST(ParseSize, ReadsUnitsAsDockerDoes) {
  const std::pair<const char*, std::uint64_t> kVectors[] = {
      {"0", 0},
      {"1048576", 1'048'576},
      {"512k", 524'288},
      {"512 KB", 524'288},
      {"128MiB", 134'217'728},
      {"1.5g", 1'610'612'736},
      {"2T", 2ULL << 40},
      {"7b", 7},
  };
  for (const auto& [text, bytes] : kVectors) {
    ASSERT_TRUE(ParseSize(text)) << text;
    EXPECT_EQ(*ParseSize(text), bytes) << text;
  }
  for (const char* bad : {"", "k", "-1", "1x", "1kk", "1ib", "1.", ".5g", "1.5.5g", "99999999999t",
                          "0x10", "1.0000000000g"}) {
    EXPECT_FALSE(ParseSize(bad)) << bad;
  }
}

TEST(ProcessEnvironment, SeesThisProcess) {
  ASSERT_EQ(setenv("CORRAL_TEST_VARIABLE", "x=y", 1), 0);
  EXPECT_EQ(ProcessEnvironment()("CORRAL_TEST_VARIABLE"), "x=y");
  EXPECT_THAT(ProcessEnvironmentNames(), testing::Contains("CORRAL_TEST_VARIABLE"));
  ASSERT_EQ(unsetenv("CORRAL_TEST_VARIABLE"), 0);
  EXPECT_EQ(ProcessEnvironment()("CORRAL_TEST_VARIABLE"), std::nullopt);
}

}  // namespace
}  // namespace corral
