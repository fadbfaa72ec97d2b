using System.Buffers.Binary;
using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Chains;

/// <summary>A chain of one to four images with random geometry, sizes and content, as commands for QEMU's tools.</summary>
internal sealed class RandomGuestCase
{
    private const int Sector = 512;

    private readonly SplitMix _random;
    private readonly List<string> _log = [];

    public RandomGuestCase(int seed) => _random = new SplitMix((ulong)seed);

    public override string ToString() => string.Join('\n', _log);

    /// <summary>Makes the chain in a folder.</summary>
    /// <returns>The top image's path.</returns>
    public async Task<string> MakeAsync(TempFolder folder)
    {
        int layers = 1 + Next(4);
        string? below = null;
        string belowFormat = "qcow2";
        if (Next(3) == 0)
        {
            // Raw files may end anywhere.
            below = folder.File("base.raw");
            belowFormat = "raw";
            var content = new byte[Next(300_000)];
            for (int i = 0; i < content.Length; i++)
            {
                content[i] = (byte)(i / 4096 % 3 == 1 ? 0 : 1 + (i % 251));
            }

            _log.Add(string.Create(CultureInfo.InvariantCulture, $"raw base of {content.Length} bytes"));
            await File.WriteAllBytesAsync(below, content);
        }

        for (int layer = 0; layer < layers; layer++)
        {
            string path = folder.File(string.Create(CultureInfo.InvariantCulture, $"layer{layer}.qcow2"));
            await MakeLayerAsync(path, below, belowFormat);
            (below, belowFormat) = (path, "qcow2");
        }

        return below!;
    }

    private async Task MakeLayerAsync(string path, string? below, string belowFormat)
    {
        int clusterBits = 9 + Next(13);
        bool isExtended = clusterBits >= 14 && Next(2) == 0;
        bool isVersion2 = !isExtended && Next(5) == 0;
        bool isZstd = !isVersion2 && Next(3) == 0;
        long size = Next(4) switch
        {
            0 => Sector * (1L + Next(50)),
            1 => Sector * (1L + Next(4000)),
            _ => Sector * (1L + Next(1 << (clusterBits - 9 + 3))),
        };
        string options = string.Create(
            CultureInfo.InvariantCulture,
            $"cluster_size={1 << clusterBits},extended_l2={(isExtended ? "on" : "off")},compat={(isVersion2 ? "0.10" : "1.1")}"
            + $"{(isZstd ? ",compression_type=zstd" : "")}");
        string[] backing = below is null ? [] : ["-b", below, "-F", belowFormat];
        _log.Add($"create {options} {string.Join(' ', backing)} {size}");
        await Qemu.ImgOkAsync(
            ["create", "-q", "-f", "qcow2", "-o", options, .. backing, path, size.ToString(CultureInfo.InvariantCulture)]);

        int batches = 1 + Next(2);
        for (int batch = 0; batch < batches; batch++)
        {
            string[] commands = [.. Enumerable.Range(0, Next(8)).Select(_ => Command(size, 1 << clusterBits))];
            _log.AddRange(commands);
            if (commands.Length > 0)
            {
                // QEMU refuses to write a compressed cluster where another one is: then that stays.
                ProcessResult written = await Qemu.RunAsync(
                    "qemu-io", null, ["-f", "qcow2", .. commands.SelectMany(static c => new[] { "-c", c }), path]);
                Assert.True(
                    written.ExitCode == 0 || written.Output.Contains("write failed: Input/output error", StringComparison.Ordinal),
                    written.Error + written.Output);
            }

            if (batch + 1 < batches)
            {
                _log.Add("snapshot");
                await Qemu.ImgOkAsync("snapshot", "-c", "s", path);
            }
        }

        if (Next(4) == 0)
        {
            CutSize(path, size);
        }
    }

    /// <summary>Lets the disk end in the middle of a sector, which no tool of QEMU's makes.</summary>
    private void CutSize(string path, long size)
    {
        size -= 1 + Next(Sector - 1);
        _log.Add(string.Create(CultureInfo.InvariantCulture, $"size {size}"));
        var bytes = new byte[sizeof(long)];
        BinaryPrimitives.WriteInt64BigEndian(bytes, size);
        using SafeFileHandle file = File.OpenHandle(path, access: FileAccess.Write);
        RandomAccess.Write(file, bytes, HeaderLayout.VirtualSize);
    }

    private string Command(long size, int cluster)
    {
        int pattern = 1 + Next(255);
        int kind = Next(8);
        long unit = kind == 7 ? cluster : Sector;
        long units = (size + unit - 1) / unit;
        long first = NextLong(units);
        long count = kind == 7 ? 1 : 1 + NextLong(Math.Min(units - first, 3L * cluster / Sector));
        long offset = first * unit;
        long length = Math.Min(count * unit, size - offset);
        return kind switch
        {
            0 or 1 or 2 => string.Create(CultureInfo.InvariantCulture, $"write -P {pattern} {offset} {length}"),
            3 => string.Create(CultureInfo.InvariantCulture, $"write -z {offset} {length}"),
            4 => string.Create(CultureInfo.InvariantCulture, $"write -z -u {offset} {length}"),
            5 => string.Create(CultureInfo.InvariantCulture, $"discard {offset} {length}"),
            6 => string.Create(CultureInfo.InvariantCulture, $"write -P 0 {offset} {length}"),
            _ => string.Create(CultureInfo.InvariantCulture, $"write -c -P {pattern} {offset} {length}"),
        };
    }

    private int Next(int end) => _random.Below(end);

    private long NextLong(long end) => (long)(_random.Next() % (ulong)end);
}
