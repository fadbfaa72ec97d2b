using System.Globalization;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>Makes random chains of two to six small images with bitmaps in any state.</summary>
internal sealed class CommitChain(TempFolder folder, SplitMix random)
{
    private const int Sector = 512;

    private static readonly string[] s_names = ["a", "b", "c"];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>One image in how many is of another size than that below it, on average.</summary>
    public int SameSizes { get; init; } = 4;

    /// <summary>Makes a chain.</summary>
    /// <param name="maxLayers">How many images at most.</param>
    /// <param name="maxClusterBits">The largest clusters.</param>
    /// <param name="maxSectors">The largest disk.</param>
    /// <returns>The paths, top first.</returns>
    public async Task<IReadOnlyList<string>> MakeAsync(int maxLayers, int maxClusterBits, int maxSectors)
    {
        int layers = 2 + random.Below(maxLayers - 1);
        BitmapState?[][] states = [.. s_names.Select(_ => RandomStates(layers))];
        int sectors = (maxSectors / 4) + random.Below(maxSectors * 3 / 4);
        var paths = new List<string>();
        for (int layer = layers - 1; layer >= 0; layer--)
        {
            int clusterBits = 9 + random.Below(maxClusterBits - 8);
            sectors = random.Below(SameSizes) == 0 ? (maxSectors / 4) + random.Below(maxSectors * 3 / 4) : sectors;
            string path = folder.File($"layer{layer.ToString(CultureInfo.InvariantCulture)}.qcow2");
            bool isExtended = clusterBits >= 14 && random.Below(3) == 0;
            string[] backing = paths.Count == 0 ? [] : ["-b", Path.GetFileName(paths[0]), "-F", "qcow2"];
            await Qemu.ImgOkAsync(
                [
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    "-o",
                    $"cluster_size={Text(1 << clusterBits)},extended_l2={(isExtended ? "on" : "off")}",
                    .. backing,
                    path,
                    Text((long)sectors * Sector),
                ]);
            paths.Insert(0, path);
            string[] commands = [.. Enumerable.Range(0, random.Below(6)).Select(_ => Command(sectors, 1 << clusterBits))];
            if (commands.Length > 0)
            {
                await Qemu.IoOkAsync(path, commands);
            }

            await AddBitmapsAsync(path, s_names.Where((_, i) => states[i][layer] == BitmapState.Inconsistent), BitmapState.Inconsistent);
            if (states.Any(state => state[layer] == BitmapState.Inconsistent))
            {
                await new QemuNode(path).CrashAsync();
            }

            await AddBitmapsAsync(path, s_names.Where((_, i) => states[i][layer] == BitmapState.Recording), BitmapState.Recording);
            await AddBitmapsAsync(path, s_names.Where((_, i) => states[i][layer] == BitmapState.Disabled), BitmapState.Disabled);
        }

        return paths;
    }

    /// <summary>Mostly a run from some image down, with a flaw now and then.</summary>
    private BitmapState?[] RandomStates(int layers)
    {
        int first = random.Below(3) == 0 ? random.Below(layers) : 0;
        int end = random.Below(layers + 1);
        int flaws = random.Pick([0, 0, 1, 3]);
        return [.. Enumerable.Range(0, layers).Select(layer => random.Below(10) < flaws
            ? random.Pick<BitmapState?>([null, BitmapState.Recording, BitmapState.Disabled, BitmapState.Inconsistent])
            : layer >= first && layer < end ? BitmapState.Recording : (BitmapState?)null)];
    }

    private async Task AddBitmapsAsync(string path, IEnumerable<string> names, BitmapState state)
    {
        var edit = new BitmapEdit();
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token);
        foreach (string name in names)
        {
            var bits = new DirtyBitmap(image.VirtualSizeBytes, 512L << random.Below(8));
            for (int i = random.Below(4); i > 0; i--)
            {
                long start = Sector * (long)random.Below((int)(image.VirtualSizeBytes / Sector));
                bits.Set(start, Math.Min(image.VirtualSizeBytes - start, Sector * (1L + random.Below(60))));
            }

            edit.Add(name, bits.GranularityBytes, isRecording: state != BitmapState.Disabled).Merge(bits, name);
        }

        await image.Bitmaps.EditAsync(edit, Token);
    }

    private string Command(int sectors, int cluster)
    {
        int first = random.Below(sectors);
        int count = Math.Min(sectors - first, 1 + random.Below(Math.Max(8, 3 * cluster / Sector)));
        string range = $"{Text((long)first * Sector)} {Text((long)count * Sector)}";
        return random.Below(7) switch
        {
            0 => $"write -z {range}",
            1 => $"write -z -u {range}",
            2 => $"discard {range}",
            _ => $"write -P {Text(1 + random.Below(255))} {range}",
        };
    }

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);
}
