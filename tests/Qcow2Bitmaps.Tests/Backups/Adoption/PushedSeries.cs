using System.Globalization;
using System.Text.Json.Nodes;
using Qcow2Bitmaps.Backups;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Backups.Adoption;

/// <summary>
/// A disk that QEMU writes, and backs up in push mode as libvirt has it do: into images of which each stands alone;
/// and what the guest saw at the point of each.
/// </summary>
internal sealed class PushedSeries(TempFolder folder, string name = "disk")
{
    private readonly List<string> _images = [];

    public static CancellationToken Token => TestContext.Current.CancellationToken;

    public string Disk => folder.File(name + ".qcow2");

    /// <summary>Where the backups lie.</summary>
    public string Folder => folder.File("backups");

    /// <summary>The backups, the oldest first.</summary>
    public IReadOnlyList<string> Images => _images;

    /// <summary>What the disk was at the point of each.</summary>
    public List<byte[]> Contents { get; } = [];

    public string Image(string image) => Path.Combine(Folder, image);

    public static async Task<PushedSeries> CreateAsync(
        TempFolder folder, string size = "3M", string name = "disk", string options = "cluster_size=64k")
    {
        Qemu.Require();
        var series = new PushedSeries(folder, name);
        Directory.CreateDirectory(series.Folder);
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", options, series.Disk, size);
        return series;
    }

    /// <summary>A full backup and two of what changed since, with a checkpoint each: c0, c1, c2.</summary>
    public static async Task<PushedSeries> OfThreeAsync(
        TempFolder folder, string name = "disk", string format = "qcow2", string options = "", bool clears = false)
    {
        PushedSeries series = await CreateAsync(folder, name: name);
        string prefix = name == "disk" ? "" : name + "-";
        await series.WriteAsync("write -P 1 0 2M");
        await series.PushAsync(prefix + "full", null, "c0", format, options);
        await series.WriteAsync("write -P 2 256k 192k", "write -P 3 1M 64k", "write -P 3 2560k 4k", "write -z -u 1536k 128k");
        await series.PushAsync(prefix + "inc1", "c0", clears ? null : "c1", "qcow2", options, clears);
        await series.WriteAsync("write -P 4 320k 192k", "write -z -u 1088k 64k", "discard 2560k 64k", "write -P 5 1600k 512");
        await series.PushAsync(prefix + "inc2", clears ? "c0" : "c1", clears ? null : "c2", "qcow2", options, clears);
        return series;
    }

    public Task WriteAsync(params string[] commands) => Qemu.IoOkAsync(Disk, commands);

    /// <summary>Has QEMU take a backup.</summary>
    /// <param name="image">The backup's file name.</param>
    /// <param name="since">The bitmap that it goes by; null for a full one.</param>
    /// <param name="checkpoint">The bitmap that starts in the same transaction; null for none.</param>
    /// <param name="format">The image's format.</param>
    /// <param name="options">Those of the image; <c>compressed</c> for compressed clusters.</param>
    /// <param name="clears">Whether the bitmap records from then on, as with QEMU's own scripts; libvirt's stay as they are.</param>
    public async Task PushAsync(
        string image, string? since, string? checkpoint, string format = "qcow2", string options = "", bool clears = false)
    {
        string path = Image(image);
        bool isCompressed = options == "compressed";
        string size = JsonNode.Parse(await Qemu.ImgOkAsync("info", "--output", "json", Disk))!["virtual-size"]!.ToString();
        await Qemu.ImgOkAsync(
            [
                "create",
                "-q",
                "-f",
                format,
                .. format == "raw" || isCompressed || options.Length == 0 ? Array.Empty<string>() : ["-o", options],
                path,
                size,
            ]);
        await using (StorageDaemon daemon = await StorageDaemon.StartAsync(folder, Disk))
        {
            await daemon.OkAsync("blockdev-add", new JsonObject
            {
                ["driver"] = format,
                ["node-name"] = "target",
                ["file"] = new JsonObject { ["driver"] = "file", ["filename"] = path },
            });
            var backup = new JsonObject
            {
                ["device"] = "disk",
                ["target"] = "target",
                ["job-id"] = "job",
                ["sync"] = since is null ? "full" : clears ? "incremental" : "bitmap",
            };
            if (since is not null)
            {
                backup["bitmap"] = since;
                backup["bitmap-mode"] = clears ? "on-success" : "never";
            }

            if (isCompressed)
            {
                backup["compress"] = true;
            }

            var actions = new JsonArray();
            if (checkpoint is not null)
            {
                actions.Add(
                    new JsonObject
                    {
                        ["type"] = "block-dirty-bitmap-add",
                        ["data"] = new JsonObject { ["node"] = "disk", ["name"] = checkpoint, ["persistent"] = true },
                    });
            }

            actions.Add(new JsonObject { ["type"] = "blockdev-backup", ["data"] = backup });
            await daemon.OkAsync("transaction", new JsonObject { ["actions"] = actions });
            JsonNode completed = await daemon.WaitForAsync("BLOCK_JOB_COMPLETED");
            Assert.True(completed["data"]!["error"] is null, completed.ToString());
        }

        _images.Add(path);
        Contents.Add(await ReadAsync(Disk));
    }

    /// <summary>Adopts images with the tool.</summary>
    public Task<ProcessResult> TryAdoptAsync(IEnumerable<string> images, string checkpoint, params string[] more) =>
        Support.Cli.RunAsync(["backup", "adopt", "--disk", Disk, "--checkpoint", checkpoint, .. more, .. images]);

    public async Task<string> AdoptAsync(string checkpoint, params string[] more)
    {
        ProcessResult result = await TryAdoptAsync(Images, checkpoint, more);
        Assert.True(result.ExitCode == 0, result.Error);
        return result.Output;
    }

    /// <summary>Expects that adopting is refused, and that nothing was written.</summary>
    public async Task<string> RefusalAsync(IEnumerable<string> images, string checkpoint, int exitCode, params string[] more)
    {
        string before = Names();
        ProcessResult result = await TryAdoptAsync(images, checkpoint, more);
        Assert.True(result.ExitCode == exitCode, $"{result.ExitCode}: {result.Output}{result.Error}");
        Assert.Equal(1, result.Error.Count(static c => c == '\n'));
        Assert.Equal(before, Names());
        return result.Error;
    }

    /// <summary>Restores a backup, and asserts what it is.</summary>
    public async Task AssertRestoresAsync(string image, byte[] content)
    {
        string target = folder.File("restored");
        await DiskBackup.RestoreAsync(Image(image), target, isRaw: true, cancellationToken: Token);
        byte[] restored = await File.ReadAllBytesAsync(target, Token);
        File.Delete(target);
        int same = content.AsSpan().CommonPrefixLength(restored);
        Assert.True(same == content.Length && same == restored.Length, $"{image} differs from the disk at byte {same}");
    }

    /// <summary>Writes, and takes incremental backups with the tool, the first by a bitmap of QEMU's.</summary>
    public async Task GoOnAsync(string since, params string[] writes)
    {
        await WriteAsync(writes.Length > 0 ? writes : ["write -P 7 64k 64k", "write -z -u 256k 128k", "discard 0 64k", "write -z 1M 64k"]);
        byte[] first = await ReadAsync(Disk);
        await Support.Cli.OkAsync("backup", "incremental", Disk, Image("ours1"), "--since", since, "--checkpoint", "ours");
        await WriteAsync("write -P 8 0 32k");
        await Support.Cli.OkAsync("backup", "incremental", Disk, Image("ours2"), "--since", "ours");
        await AssertRestoresAsync("ours1", first);
        await AssertRestoresAsync("ours2", await ReadAsync(Disk));
        Assert.Contains(
            "The disk equals the backup", await Support.Cli.OkAsync("backup", "verify", Image("ours2"), "--disk", Disk),
            StringComparison.Ordinal);
        await Support.Cli.OkAsync("backup", "list", Folder);
    }

    public void SetTimes(params int[] minutes)
    {
        for (int i = 0; i < minutes.Length; i++)
        {
            File.SetLastWriteTimeUtc(_images[i], new DateTime(2026, 1, 1, 0, minutes[i], 0, DateTimeKind.Utc));
        }
    }

    /// <summary>The files beside the images and what they hold, the images too.</summary>
    public string Names() => string.Join('\n', Directory.EnumerateFiles(Folder).Order(StringComparer.Ordinal).Select(static path =>
        $"{Path.GetFileName(path)} {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(path)))}"));

    /// <summary>What QEMU reads.</summary>
    public async Task<byte[]> ReadAsync(string path, string format = "qcow2")
    {
        string raw = folder.File("disk.raw");
        await Qemu.ImgOkAsync("convert", "-f", format, "-O", "raw", path, raw);
        return await File.ReadAllBytesAsync(raw, Token);
    }

    public static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);
}
