using System.Text.Json;
using FsCheck.Fluent;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Qmp;

/// <summary>
/// Random backups, legal and not, alone and in transactions with operations on bitmaps, and commands while
/// they end, sent to QEMU's daemon and to us.
/// </summary>
public sealed class RandomJobTests
{
    private const int Commands = 12;

    [Fact]
    public void JobsBitmapsAndBackupsAreThoseOfQemu()
    {
        Qemu.Require();
        Properties.ForAll(
            Gen.Choose(0, int.MaxValue - 1), 3 * Properties.Factor,
            static seed => new Conversation(seed).RunAsync().GetAwaiter().GetResult());
    }

    private sealed class Conversation(int seed)
    {
        private readonly Dice _dice = new(seed);
        private readonly List<string> _asked = [];
        private readonly List<string> _backups = [];
        private int _jobs;

        public async Task RunAsync()
        {
            using var folder = TempFolder.InMemory();
            await StateTableTests.MakeImagesAsync(folder);
            await using BothServers both = await BothServers.StartAsync(
                folder, ("n", "n.qcow2", false), ("t", "t.qcow2", false), ("u", "u.qcow2", false), ("v", "v.qcow2", false),
                ("r", "r.qcow2", true));
            both.ComparesOrder = false;
            try
            {
                await WriteAsync(both);
                for (int i = 0; i < Commands; i++)
                {
                    await TakeAsync(both);
                }

                await both.QuitAsync([.. _backups]);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed}:\n{string.Join('\n', _asked)}\n{e.Message}", e);
            }
        }

        private async Task TakeAsync(BothServers both)
        {
            switch (_dice.Next(8))
            {
                case 0:
                    await WriteAsync(both);
                    break;
                case 1:
                    await AskAsync(both, Command(Bitmap(inTransaction: false)));
                    break;
                case 2:
                    await CancelAsync(both);
                    break;
                default:
                    await BackUpAsync(both, waits: _dice.Next(2) == 0);
                    break;
            }
        }

        /// <summary>Starts one job, or a transaction with some, and lets them end.</summary>
        private async Task BackUpAsync(BothServers both, bool waits)
        {
            var jobs = new List<(string Id, string? File)>();
            string[] actions = _dice.Next(2) == 0
                ? [Backup(jobs, waits, inTransaction: false)]
                : [
                    .. Enumerable.Range(0, 2 + _dice.Next(2)).Select(
                        i => i > 0 && _dice.Next(2) == 0 ? Backup(jobs, waits, inTransaction: true) : Bitmap(inTransaction: true)),
                    Backup(jobs, waits, inTransaction: true),
                ];
            bool isGrouped = jobs.Count == actions.Length && _dice.Next(2) == 0;
            string properties = isGrouped ? ""","properties":{"completion-mode":"grouped"}""" : "";
            JsonElement reply = await AskAsync(
                both,
                actions.Length == 1 && !isGrouped
                    ? Command(actions[0])
                    : $$$"""{"execute":"transaction","arguments":{"actions":[{{{string.Join(',', actions)}}}]{{{properties}}}}}""");
            if (!reply.TryGetProperty("return", out _))
            {
                await both.AssertSameAsync();
                return;
            }

            _backups.AddRange(jobs.Select(static job => job.File).OfType<string>());
            if (waits)
            {
                foreach ((string id, _) in jobs)
                {
                    await both.StatusAsync(id, "pending");
                }

                for (int i = _dice.Next(5); i > 0; i--)
                {
                    if (_dice.Next(4) == 0)
                    {
                        await WriteAsync(both);
                    }
                    else if (_dice.Next(4) == 0)
                    {
                        await BackUpAsync(both, waits: false);
                    }
                    else
                    {
                        await AskAsync(both, Command(Bitmap(inTransaction: false)));
                    }
                }

                await both.AssertSameAsync();
                foreach ((string id, _) in isGrouped ? jobs[..1] : jobs)
                {
                    await AskAsync(both, _dice.Of(
                        Job("job-finalize", "id", id), Job("block-job-finalize", "id", id), Job("job-cancel", "id", id),
                        Job("block-job-cancel", "device", id)));
                }
            }

            foreach ((string id, _) in jobs)
            {
                await both.EndedAsync(id);
            }

            await both.AssertSameAsync();
        }

        /// <summary>
        /// A job that stands still behind its first MiB, or that never ends by itself. What is on its target depends on time.
        /// </summary>
        private async Task CancelAsync(BothServers both)
        {
            string id = $"j{_jobs++}";
            string bitmap = _dice.Of(
                "", ""","bitmap":"good","bitmap-mode":"on-success" """, ""","bitmap":"dis","bitmap-mode":"on-success" """);
            JsonElement reply = await AskAsync(
                both,
                $$$"""{"execute":"drive-backup","arguments":{"device":"n","job-id":"{{{id}}}","target":"FOLDER/{{{id}}}.img","""
                + $$$""" "format":"raw","sync":"full","speed":1000{{{bitmap}}}}}""");
            if (reply.TryGetProperty("return", out _))
            {
                for (int i = _dice.Next(4); i > 0; i--)
                {
                    await (_dice.Next(2) == 0 ? WriteAsync(both) : AskAsync(both, Command(Bitmap(inTransaction: false))));
                }

                await AskAsync(both, _dice.Of(Job("job-cancel", "id", id), Job("block-job-cancel", "device", id)));
                await both.GoneAsync(id);
            }

            await both.AssertSameAsync();
        }

        private string Backup(List<(string Id, string? File)> jobs, bool waits, bool inTransaction)
        {
            string id = $"j{_jobs++}";
            string sync = _dice.Of("full", "top", "incremental", "bitmap", "incremental", "bitmap");
            string bitmap = _dice.Next(6) == 0 && sync is "full" or "top" ? "" : $",\"bitmap\":\"{Name()}\"";
            // QEMU 7.2 ends a job of mode 'always' as one that was cancelled where its transaction is taken back.
            string last = inTransaction ? "on-success" : "always";
            string mode = sync == "incremental" && _dice.Next(2) == 0 || _dice.Next(8) == 0
                ? ""
                : $",\"bitmap-mode\":\"{_dice.Of("on-success", "never", last)}\"";
            string rest = $"\"job-id\":\"{id}\",\"sync\":\"{sync}\"{bitmap}{mode}{(waits ? ",\"auto-finalize\":false" : "")}";
            string device = _dice.Of("n", "n", "n", "r", "t", "none");
            if (_dice.Next(2) == 0)
            {
                jobs.Add((id, null));
                return $$$"""{"type":"blockdev-backup","data":{"device":"{{{device}}}","""
                    + $$$""" "target":"{{{_dice.Of("t", "u", "v", "v", "none")}}}",{{{rest}}}}}""";
            }

            bool isRaw = _dice.Next(3) == 0;
            string file = id + (isRaw ? ".img" : ".qcow2");
            jobs.Add((id, file));
            return $$$"""{"type":"drive-backup","data":{"device":"{{{device}}}","target":"FOLDER/{{{file}}}","""
                + $$$""" "format":"{{{(isRaw ? "raw" : "qcow2")}}}",{{{rest}}}}}""";
        }

        private string Bitmap(bool inTransaction)
        {
            string node = _dice.Of("n", "n", "n", "r", "t");
            string name = Name();
            switch (_dice.Next(6))
            {
                case 0 or 1:
                    // One that is only read QEMU accepts as persistent, and loses.
                    string persistent = node != "r" && _dice.Next(2) == 0 ? ",\"persistent\":true" : "";
                    return $$$"""{"type":"block-dirty-bitmap-add","data":{"node":"{{{node}}}","name":"{{{name}}}","""
                        + $$$""" "granularity":{{{512 << _dice.Next(12)}}}{{{persistent}}}}}""";
                case 2:
                    return $$$"""{"type":"block-dirty-bitmap-merge","data":{"node":"{{{node}}}","target":"{{{name}}}","""
                        + $$$""" "bitmaps":["{{{Name()}}}",{"node":"{{{_dice.Of("n", "r", "t")}}}","name":"{{{Name()}}}"}]}}""";
                default:
                    // QEMU 7.2 dies when a transaction enables a bitmap that is not there, and disables one that it refuses to enable.
                    string verb = _dice.Of("remove", "clear", "disable", inTransaction ? "clear" : "enable");
                    // An inconsistent one that it removes is gone from the image even where the transaction is taken back.
                    name = inTransaction && name == "inc" ? "extra" : name;
                    return $$$"""{"type":"block-dirty-bitmap-{{{verb}}}","data":{"node":"{{{node}}}","name":"{{{name}}}"}}""";
            }
        }

        private string Name() => _dice.Of("good", "good", "dis", "busy", "extra", "inc", "new", "none");

        private Task WriteAsync(BothServers both)
        {
            long offset = 512 * _dice.Next(8000);
            _asked.Add($"write {offset}");
            return both.WriteAsync("n", (byte)_dice.Next(256), offset, 512 * (1 + _dice.Next(100)));
        }

        private async Task<JsonElement> AskAsync(BothServers both, string command)
        {
            _asked.Add(command);
            JsonElement reply = await both.AskAsync(command, comparesReason: !command.Contains("},{\"type\"", StringComparison.Ordinal));
            _asked.Add("  " + reply.GetRawText());
            return reply;
        }

        private static string Command(string action) =>
            action.Replace("\"type\"", "\"execute\"", StringComparison.Ordinal).Replace(
                "\"data\"", "\"arguments\"", StringComparison.Ordinal);

        private static string Job(string command, string parameter, string id) =>
            $$$"""{"execute":"{{{command}}}","arguments":{"{{{parameter}}}":"{{{id}}}"}}""";
    }
}
