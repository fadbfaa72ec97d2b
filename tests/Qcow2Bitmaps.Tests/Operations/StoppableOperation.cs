using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>An operation on a random chain, that can be run again whatever it has done before.</summary>
/// <param name="Name">What it does.</param>
/// <param name="Images">The images at the start.</param>
/// <param name="Active">The active image.</param>
/// <param name="Seen">The image through which the end is looked at.</param>
/// <param name="RunAsync">Does it, or what is left of it.</param>
/// <param name="Stays">Whether a bitmap has to stay valid.</param>
internal sealed record StoppableOperation(
    string Name, IReadOnlyDictionary<string, byte[]> Images, string Active, string Seen, Func<CrashChain, CancellationToken, Task> RunAsync,
    Func<string, bool> Stays)
{
    private const string Other = "other.qcow2";
    private const string Allocated = "populate with what is allocated";
    private const string Overhang = "populate what reaches over a shorter image";

    public static IReadOnlyList<string> Kinds { get; } = ["commit", "pull", "rebase", "populate", Allocated, Overhang, "delete", "prune"];

    /// <summary>Whether stopped and run again the end has the same bits: a commit whose base has grown may mark more.</summary>
    public bool HasSameBits { get; private init; } = true;

    /// <summary>Makes one; null where what was drawn is refused, or does nothing.</summary>
    public static async Task<StoppableOperation?> MakeAsync(string kind, int seed)
    {
        CancellationToken token = TestContext.Current.CancellationToken;
        using var folder = TempFolder.InMemory();
        var random = new SplitMix((ulong)seed);
        IReadOnlyList<string> paths = await new CommitChain(folder, random) { SameSizes = kind == Overhang ? 1 : 4 }.MakeAsync(
            maxLayers: 5, maxClusterBits: 12, maxSectors: 200);
        if (kind == "rebase")
        {
            string other = folder.File(Other);
            await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-o", "cluster_size=2k", other, "70k");
            await Qemu.IoOkAsync(other, "write -P 77 10k 30k");
        }

        var images = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (string path in Directory.GetFiles(folder.Path, "*.qcow2"))
        {
            images.Add(Path.GetFileName(path), await File.ReadAllBytesAsync(path, token));
        }

        string[] names = [.. paths.Select(static path => Path.GetFileName(path))];
        int workers = random.Pick([1, 8]);
        int top = random.Below(2) == 0 ? 0 : random.Below(names.Length - 1);
        int end = top + 1 + random.Below(names.Length - top);
        string bitmap = random.Pick(["a", "b", "c"]);
        var rebase = new MergeOptions { Workers = workers, DisablesGaps = random.Below(3) == 0 };
        var operation = new StoppableOperation(
            $"{kind}, seed {seed}, top {top}, end {end}", images, names[0], names[0], (_, _) => Task.CompletedTask, static _ => true);
        switch (kind)
        {
            case "commit":
                int target = Math.Min(end, names.Length - 1);
                var model = new CommitModel([.. await Task.WhenAll(paths.Select(CommitLayer.ReadAsync))], top, target);
                return model.IsRefused ? null : operation with
                {
                    Seen = names[target],
                    HasSameBits = model.TargetSectors == model.Layers[target].Sectors,
                    RunAsync = async (chains, cancellationToken) =>
                    {
                        if (top > 0 && !await HasAsync(chains, names[0], names[top]))
                        {
                            return;
                        }

                        await using ImageChain chain = await chains.OpenForCommitAsync(names[0], top, target);
                        await new ChainCommit(chain, top, target, new MergeOptions { Workers = workers }).RunAsync(null, cancellationToken);
                    },
                };
            case "pull":
                return operation with
                {
                    RunAsync = async (chains, cancellationToken) =>
                    {
                        await using ImageChain chain = await chains.OpenAsync(names[0], await WritableAsync(chains, names[0], top));
                        int? index = end == names.Length ? null : chain.Layers.Single(layer => layer.Path == names[end]).Index;
                        await new ChainRebase(chain, top, index, rebase).RunAsync(null, cancellationToken);
                    },
                };
            case "rebase":
                bool isOther = end == names.Length && random.Below(2) == 0;
                return operation with
                {
                    Stays = _ => !isOther,
                    RunAsync = async (chains, cancellationToken) =>
                    {
                        await using ImageChain chain = await chains.OpenAsync(names[0], await WritableAsync(chains, names[0], top));
                        await using ImageChain? below = isOther ? await chains.OpenAsync(Other)
                            : end == names.Length ? null
                            : await chains.OpenAsync(names[end]);
                        await new ChainRebase(chain, top, below, rebase).RunAsync(null, cancellationToken);
                    },
                };
            case "populate":
                return operation with
                {
                    RunAsync = (chains, cancellationToken) =>
                        PopulateAsync(chains, names[0], bitmap, allDirty: true, trustsBirth: true, cancellationToken),
                };
            case Allocated:
            case Overhang:
                bool allDirty = kind == Overhang && random.Below(2) == 0;
                bool trustsBirth = random.Below(2) == 0;
                foreach (string rebuilt in new[] { "a", "b", "c" })
                {
                    if (await RebuildsAsync(new CrashChain(images), names[0], rebuilt, allDirty, trustsBirth, kind == Overhang))
                    {
                        return operation with
                        {
                            Name = $"{operation.Name}, {rebuilt}, {(allDirty ? "all dirty" : "allocated")}, "
                                + $"{(trustsBirth ? "birth trusted" : "birth not trusted")}",
                            RunAsync = (chains, cancellationToken) =>
                                PopulateAsync(chains, names[0], rebuilt, allDirty, trustsBirth, cancellationToken),
                        };
                    }
                }

                return null;
            case "delete":
                return operation with
                {
                    Stays = name => name != bitmap,
                    RunAsync = (chains, cancellationToken) => DeleteAsync(chains, names[0], [bitmap], cancellationToken),
                };
            default:
                return operation with
                {
                    RunAsync = async (chains, cancellationToken) =>
                    {
                        string[] useless;
                        await using (ImageChain look = await chains.OpenAsync(names[0]))
                        {
                            useless = [.. (await look.JudgeBitmapsAsync(cancellationToken: cancellationToken))
                                .Where(static verdict => !verdict.IsValid)
                                .Select(static verdict => verdict.Name)];
                        }

                        await DeleteAsync(chains, names[0], useless, cancellationToken);
                    },
                };
        }
    }

    private static async Task PopulateAsync(
        CrashChain chains, string active, string bitmap, bool allDirty, bool trustsBirth, CancellationToken cancellationToken)
    {
        IReadOnlyList<int> writable;
        await using (ImageChain look = await chains.OpenAsync(active))
        {
            writable = ChainBitmaps.Holders(look, [bitmap]).Any()
                ? await new ChainPopulate(look, bitmap).FindWritableLayersAsync(cancellationToken)
                : [];
        }

        await using ImageChain chain = await chains.OpenAsync(active, writable);
        if (writable.Count > 0)
        {
            await new ChainPopulate(chain, bitmap, allDirty, trustsBirth).RunAsync(null, cancellationToken);
        }
    }

    /// <summary>
    /// Whether a bitmap would be rebuilt: that is not refused, and there is something to do; and if so wanted, in an
    /// image that is longer than the one below it.
    /// </summary>
    private static async Task<bool> RebuildsAsync(
        CrashChain chains, string active, string bitmap, bool allDirty, bool trustsBirth, bool hasOverhang)
    {
        await using ImageChain chain = await chains.OpenAsync(active);
        if (!ChainBitmaps.Holders(chain, [bitmap]).Any())
        {
            return false;
        }

        IReadOnlyList<int> images = await new ChainPopulate(chain, bitmap).FindWritableLayersAsync(TestContext.Current.CancellationToken);
        if (images.Count == 0
            || (hasOverhang
                && !images.Any(index =>
                    index + 1 < chain.Layers.Count && chain.Layers[index].VirtualSizeBytes > chain.Layers[index + 1].VirtualSizeBytes)))
        {
            return false;
        }

        try
        {
            await PopulateAsync(chains, active, bitmap, allDirty, trustsBirth, TestContext.Current.CancellationToken);
            return true;
        }
        catch (BitmapStateException)
        {
            return false;
        }
    }

    private static async Task<IReadOnlyCollection<int>> WritableAsync(CrashChain chains, string active, int top)
    {
        await using ImageChain look = await chains.OpenAsync(active);
        return [.. await new ChainRebase(look, top, (int?)null).FindWritableLayersAsync(TestContext.Current.CancellationToken)];
    }

    private static async Task<bool> HasAsync(CrashChain chains, string active, string image)
    {
        await using ImageChain look = await chains.OpenAsync(active);
        return look.Layers.Any(layer => layer.Path == image);
    }

    private static async Task DeleteAsync(
        CrashChain chains, string active, IReadOnlyList<string> names, CancellationToken cancellationToken)
    {
        string[] there;
        int[] writable;
        await using (ImageChain look = await chains.OpenAsync(active))
        {
            there = [.. names.Where(name => ChainBitmaps.Holders(look, [name]).Any())];
            writable = [.. ChainBitmaps.Holders(look, there)];
        }

        await using ImageChain chain = await chains.OpenAsync(active, writable);
        await new ChainBitmaps(chain, there).RunAsync(null, cancellationToken);
    }
}
