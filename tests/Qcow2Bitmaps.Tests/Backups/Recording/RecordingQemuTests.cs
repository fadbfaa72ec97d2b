using System.Globalization;
using System.Text.Json.Nodes;
using FsCheck.Fluent;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>The same is asked of a session and of qemu-storage-daemon: bitmaps, states and refusals are the same.</summary>
public sealed class RecordingQemuTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void SequencesEndInTheBitmapsThatQemuHas()
    {
        Qemu.Require();
        Properties.ForAll(
            Gen.Choose(0, int.MaxValue).Select(static seed => new RecordCase(seed, 25, hasJobs: false)),
            4 * Properties.Factor,
            static sequence => RunAsync(sequence).GetAwaiter().GetResult());
    }

    [Fact]
    public async Task RefusalsAreThoseOfQemuInEveryState()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string theirs = folder.File("theirs.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", theirs, "4M");
        await Qemu.ImgOkAsync("bitmap", "--add", theirs, "bad");
        await using (StorageDaemon killed = await StorageDaemon.StartAsync(folder, theirs))
        {
            await killed.KillAsync();
        }

        foreach (string name in (string[])["rec", "off", "busy"])
        {
            await Qemu.ImgOkAsync("bitmap", "--add", theirs, name);
        }

        await Qemu.ImgOkAsync("bitmap", "--disable", theirs, "off");
        string ours = folder.File("ours.qcow2");
        File.Copy(theirs, ours);
        string target = folder.Write("target.raw", new byte[4 << 20]);
        await using StorageDaemon daemon = await StorageDaemon.StartAsync(folder, theirs);
        await using RecordingSession session = await RecordingSession.OpenAsync(ours, cancellationToken: Token);
        await daemon.OkAsync("blockdev-add", new JsonObject { ["driver"] = "file", ["node-name"] = "target", ["filename"] = target });
        await daemon.OkAsync("blockdev-add", new JsonObject { ["driver"] = "null-co", ["node-name"] = "short", ["size"] = 1 << 20 });
        await daemon.OkAsync("blockdev-add", new JsonObject { ["driver"] = "null-co", ["node-name"] = "other", ["size"] = 4 << 20 });
        await daemon.IoAsync("write -P 1 0 4M");
        await session.WriteAsync(0, new byte[4 << 20], Token);
        await daemon.OkAsync("blockdev-backup", Backup("job", "target", BackupSync.Incremental, "busy", null));
        BackupJob job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = BackupSync.Incremental, Bitmap = "busy", Target = new NullTarget(4 << 20), BytesPerSecond = 1 },
            Token);
        AssertSameList(session.Bitmaps, await daemon.OkAsync("query-named-block-nodes", new JsonObject { ["flat"] = true }));

        string[] names = ["rec", "off", "bad", "busy", "nosuch"];
        foreach (string name in names)
        {
            await CompareAsync(
                daemon, session, new RecordStep(RecordAction.Add) { Name = name == "nosuch" ? "rec" : name, Granularity = 65536 });
            foreach (string other in names)
            {
                await CompareAsync(daemon, session, new RecordStep(RecordAction.Merge) { Name = name, Sources = [other] });
            }

            foreach (RecordAction action in (RecordAction[])[RecordAction.Clear, RecordAction.Enable, RecordAction.Disable])
            {
                await CompareAsync(daemon, session, new RecordStep(action) { Name = name });
            }
        }

        string tooLong = new('n', 1024);
        (string, long?, bool)[] bitmaps =
        [
            ("", null, false), ("x", 511, false), ("x", 256, true), ("x", 1L << 31, true), (tooLong, null, false), (tooLong, null, true),
        ];
        foreach ((string name, long? granularity, bool isPersistent) in bitmaps)
        {
            await CompareAsync(
                daemon, session, new RecordStep(RecordAction.Add) { Name = name, Granularity = granularity, IsPersistent = isPersistent });
        }

        foreach (BackupSync sync in Enum.GetValues<BackupSync>())
        {
            foreach (string? name in (string?[])[null, .. names])
            {
                foreach (BitmapSyncMode? mode
                    in (BitmapSyncMode?[])[null, BitmapSyncMode.OnSuccess, BitmapSyncMode.Never, BitmapSyncMode.Always])
                {
                    await CompareBackupAsync(daemon, session, sync, name, mode);
                }
            }
        }

        Assert.Equal(
            await daemon.TryAsync("blockdev-backup", Backup("other", "short", BackupSync.Full, null, null)),
            await RefusalAsync(async () =>
                await session.StartBackupAsync(new BackupJobOptions { Sync = BackupSync.Full, Target = new NullTarget(1 << 20) }, Token)));
        Assert.Equal(
            await daemon.TryAsync("blockdev-backup", Backup("other", "disk", BackupSync.Full, null, null)),
            await RefusalAsync(async () =>
                await session.StartBackupAsync(
                    new BackupJobOptions { Sync = BackupSync.Full, Target = session }, Token)));
        foreach (string name in names)
        {
            await CompareAsync(daemon, session, new RecordStep(RecordAction.Remove) { Name = name });
        }

        AssertSameList(session.Bitmaps, await daemon.OkAsync("query-named-block-nodes", new JsonObject { ["flat"] = true }));
        await daemon.OkAsync("block-job-cancel", new JsonObject { ["device"] = "job", ["force"] = true });
        await daemon.WaitForAsync("BLOCK_JOB_CANCELLED");
        await job.DisposeAsync();
        Assert.Equal(BackupJobState.Cancelled, job.State);
        AssertSameList(session.Bitmaps, await daemon.OkAsync("query-named-block-nodes", new JsonObject { ["flat"] = true }));
    }

    private static async Task RunAsync(RecordCase sequence)
    {
        using var folder = TempFolder.InMemory();
        string theirs = folder.File("theirs.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", theirs, RecordCase.DiskBytes.ToString(CultureInfo.InvariantCulture));
        string ours = folder.File("ours.qcow2");
        File.Copy(theirs, ours);
        StorageDaemon daemon = await StorageDaemon.StartAsync(folder, theirs);
        RecordingSession session = await RecordingSession.OpenAsync(ours, cancellationToken: Token);
        var model = new RecordModel();
        try
        {
            foreach (IReadOnlyList<RecordStep> item in sequence.Items)
            {
                if (item[0].Action == RecordAction.Reopen)
                {
                    await daemon.DisposeAsync();
                    await session.DisposeAsync();
                    await AssertStoredSameAsync(theirs, ours);
                    model.Reopen();
                    daemon = await StorageDaemon.StartAsync(folder, theirs);
                    session = await RecordingSession.OpenAsync(ours, cancellationToken: Token);
                }
                else if (item[0].Action < RecordAction.Write && !model.TryApply(item) && item.Count > 1)
                {
                    // QEMU 7.2 may die of taking a transaction back; other sequences compare refused ones with the model.
                    Assert.NotNull(await RefusalAsync(async () => await TransactionOf(session, item).CommitAsync(Token)));
                }
                else if (item[0].Action < RecordAction.Write)
                {
                    await CompareAsync(daemon, session, [.. item]);
                }
                else
                {
                    await WriteAsync(daemon, session, item[0]);
                }
            }

            // What a checkpoint has stored comes before what was added later, once the image was closed.
            bool isOrdered = !sequence.Items.Any(static item => item[0].Action == RecordAction.Checkpoint);
            AssertSameList(session.Bitmaps, await daemon.OkAsync("query-named-block-nodes", new JsonObject { ["flat"] = true }), isOrdered);
            foreach (RecordedBitmap bitmap in session.Bitmaps)
            {
                JsonNode hash = await daemon.OkAsync(
                    "x-debug-block-dirty-bitmap-sha256", new JsonObject { ["node"] = "disk", ["name"] = bitmap.Name });
                Assert.Equal((string?)hash["sha256"], Convert.ToHexStringLower(session.CopyBits(bitmap.Name).Sha256()));
            }
        }
        finally
        {
            await daemon.DisposeAsync();
            await session.DisposeAsync();
        }

        await AssertStoredSameAsync(theirs, ours);
        await Qemu.ImgOkAsync("check", "-q", ours);
        await Qemu.ImgOkAsync("compare", "-q", theirs, ours);
    }

    private static async Task WriteAsync(StorageDaemon daemon, RecordingSession session, RecordStep step)
    {
        var bytes = new byte[step.Length];
        Array.Fill(bytes, step.Fill);
        switch (step.Action)
        {
            case RecordAction.Write:
                await daemon.IoAsync($"write -P {step.Fill} {step.Offset} {step.Length}");
                await session.WriteAsync(step.Offset, bytes, Token);
                break;
            case RecordAction.Zero:
                await daemon.IoAsync($"write -z {step.Offset} {step.Length}");
                await session.WriteZerosAsync(step.Offset, step.Length, cancellationToken: Token);
                break;
            case RecordAction.Discard:
                await daemon.IoAsync($"discard {step.Offset} {step.Length}");
                await session.DiscardAsync(step.Offset, step.Length, Token);
                break;
            case RecordAction.Checkpoint:
                await session.StoreBitmapsAsync(Token);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(step), step, null);
        }
    }

    /// <summary>Takes steps, as a command or as a transaction, on both sides.</summary>
    private static async Task CompareAsync(StorageDaemon daemon, RecordingSession session, params IReadOnlyList<RecordStep> steps)
    {
        (string Command, JsonObject Arguments)[] commands = [.. steps.Select(Command)];
        string? refused = steps.Count == 1
            ? await daemon.TryAsync(commands[0].Command, commands[0].Arguments)
            : await daemon.TryAsync(
                "transaction",
                new JsonObject
                {
                    ["actions"] = new JsonArray(
                        [
                            .. commands.Select(
                                static command => new JsonObject { ["type"] = command.Command, ["data"] = command.Arguments })]),
                });
        string? ours = await RefusalAsync(async () => await TransactionOf(session, steps).CommitAsync(Token));
        Assert.True(
            refused == ours?.Replace($"'{session.Name}'", "'disk'", StringComparison.Ordinal),
            $"[{string.Join(", ", steps)}]: QEMU says '{refused}', we '{ours}'");
    }

    private static RecordingTransaction TransactionOf(RecordingSession session, IReadOnlyList<RecordStep> steps)
    {
        var transaction = new RecordingTransaction();
        foreach (RecordStep step in steps)
        {
            _ = step.Action switch
            {
                RecordAction.Add => transaction.Add(session, step.Name, step.Granularity, step.IsPersistent, step.IsRecording),
                RecordAction.Remove => transaction.Remove(session, step.Name),
                RecordAction.Enable => transaction.Enable(session, step.Name),
                RecordAction.Disable => transaction.Disable(session, step.Name),
                RecordAction.Clear => transaction.Clear(session, step.Name),
                _ => transaction.Merge(session, step.Name, step.Sources),
            };
        }

        return transaction;
    }

    private static async Task CompareBackupAsync(
        StorageDaemon daemon, RecordingSession session, BackupSync sync, string? name, BitmapSyncMode? mode)
    {
        string? refused = await daemon.TryAsync("blockdev-backup", Backup("other", "other", sync, name, mode));
        BackupJob? job = null;
        string? ours = await RefusalAsync(async () => job = await session.StartBackupAsync(
            new BackupJobOptions { Sync = sync, Bitmap = name, BitmapMode = mode, Target = new NullTarget(4 << 20), BytesPerSecond = 1 },
            Token));
        Assert.True(refused == ours, $"backup {sync} {name} {mode}: QEMU says '{refused}', we '{ours}'");
        if (job is not null)
        {
            await job.DisposeAsync();
            await daemon.ExecuteAsync("block-job-cancel", new JsonObject { ["device"] = "other", ["force"] = true });
            while (true)
            {
                JsonNode change = await daemon.WaitForAsync("JOB_STATUS_CHANGE");
                if ((string?)change["data"]!["id"] == "other" && (string?)change["data"]!["status"] == "null")
                {
                    break;
                }
            }
        }
    }

    private static async Task<string?> RefusalAsync(Func<Task> work)
    {
        try
        {
            await work();
            return null;
        }
        catch (BitmapStateException e)
        {
            return e.Message;
        }
    }

    private static (string Command, JsonObject Arguments) Command(RecordStep step)
    {
        var arguments = new JsonObject { ["node"] = "disk" };
        if (step.Action == RecordAction.Merge)
        {
            arguments["target"] = step.Name;
            arguments["bitmaps"] = new JsonArray([.. step.Sources.Select(static source => JsonValue.Create(source))]);
            return ("block-dirty-bitmap-merge", arguments);
        }

        arguments["name"] = step.Name;
        if (step.Action == RecordAction.Add)
        {
            arguments["persistent"] = step.IsPersistent;
            arguments["disabled"] = !step.IsRecording;
            if (step.Granularity is { } granularity)
            {
                arguments["granularity"] = granularity;
            }
        }

        return ($"block-dirty-bitmap-{KebabCase.From(step.Action.ToString())}", arguments);
    }

    private static JsonObject Backup(string id, string target, BackupSync sync, string? bitmap, BitmapSyncMode? mode)
    {
        var arguments = new JsonObject
        {
            ["job-id"] = id,
            ["device"] = "disk",
            ["target"] = target,
            ["sync"] = KebabCase.From(sync.ToString()),
            ["speed"] = 1,
        };
        if (bitmap is not null)
        {
            arguments["bitmap"] = bitmap;
        }

        if (mode is { } given)
        {
            arguments["bitmap-mode"] = KebabCase.From(given.ToString());
        }

        return arguments;
    }

    private static void AssertSameList(IReadOnlyList<RecordedBitmap> ours, JsonNode nodes, bool isOrdered = true)
    {
        JsonNode? disk = nodes.AsArray().First(static node => (string?)node!["node-name"] == "disk");
        string[] theirs = [.. (disk!["dirty-bitmaps"]?.AsArray() ?? []).Where(static b => b!["name"] is not null).Select(static b =>
            $"{b!["name"]} {b["granularity"]} {b["count"]} {b["recording"]} {b["busy"]} {b["persistent"]} "
            + $"{b["inconsistent"]?.ToString() ?? "false"}")];
        string[] own = [.. ours.Select(static b =>
            $"{b.Name} {b.GranularityBytes} {b.CountBytes} {Text(b.IsRecording)} {Text(b.IsBusy)} {Text(b.IsPersistent)} "
            + $"{Text(b.IsInconsistent)}")];
        if (!isOrdered)
        {
            Array.Sort(theirs, StringComparer.Ordinal);
            Array.Sort(own, StringComparer.Ordinal);
        }

        Assert.Equal(string.Join('\n', theirs), string.Join('\n', own));
    }

    private static IEnumerable<(string Name, long Granularity, BitmapFlags Flags)> Sorted(Qcow2Image image) =>
        image.Bitmaps.Select(static b => (b.Name, b.GranularityBytes, b.Flags)).OrderBy(static b => b.Name, StringComparer.Ordinal);

    private static string Text(bool value) => value ? "true" : "false";

    private static async Task AssertStoredSameAsync(string theirs, string ours)
    {
        await using Qcow2Image one = await Qcow2Image.OpenAsync(theirs, cancellationToken: Token);
        await using Qcow2Image other = await Qcow2Image.OpenAsync(ours, cancellationToken: Token);
        // Where there was a checkpoint, what it has stored comes before what was added later.
        Assert.Equal(Sorted(one), Sorted(other));
        foreach (BitmapInfo bitmap in one.Bitmaps)
        {
            Assert.True(
                (await one.Bitmaps.LoadAsync(bitmap.Name, cancellationToken: Token)).HasSameContent(
                    await other.Bitmaps.LoadAsync(bitmap.Name, cancellationToken: Token)),
                bitmap.Name);
        }
    }
}
