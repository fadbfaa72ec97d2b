using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Guest;

/// <summary>
/// Whether a file has all that its image names. Images of QEMU and the tool are whole; no cut of what anybody reads goes unseen.
/// </summary>
public sealed class NamedEndTests : IDisposable
{
    private readonly TempFolder _folder = TempFolder.InMemory();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    /// <summary>QEMU ends files inside their last cluster in many ways, and none of these is a cut.</summary>
    /// <remarks>Where the check calls a cut file whole, QEMU reads the same disk from it, and it has all bits of its bitmaps.</remarks>
    [Theory]
    [InlineData("512", true)]
    [InlineData("64k", true)]
    [InlineData("2M", false)]
    public async Task WhatWasMadeIsWholeAndWhatIsReadCannotBeCutOffUnseen(string clusterSize, bool isCut)
    {
        Qemu.Require();
        int number = 0;
        int found = 0;
        foreach (ImageRecipe recipe in ImageRecipe.For(clusterSize))
        {
            string image = _folder.File($"{number++}.qcow2");
            await recipe.MakeAsync(_folder, image, clusterSize);
            FormatFault? fault = await FindAsync(image, recipe.Name);
            Assert.True(fault is null, $"{recipe.Name}: is whole, but: {fault}");
            foreach (string file in new[] { image, image + ".data" }.Where(file => isCut && Path.Exists(file)))
            {
                foreach (long length in CutsOf(LengthOf(file)))
                {
                    found += await CutAsync(recipe.Name, image, file, length) ? 1 : 0;
                }
            }

            // Memory is what it stands in.
            File.Delete(image);
        }

        Assert.True(!isCut || found > 100, $"only {found} cuts were found");
    }

    /// <summary>A repair lowers the counts of what lies behind the end; what names it stays.</summary>
    [Fact]
    public async Task ARepairByQemuDoesNotHideTheCut()
    {
        Qemu.Require();
        string image = _folder.File("image.qcow2");
        await new ImageRecipe("", "img convert -f raw -O qcow2 -o cluster_size={c} {r} {f}").MakeAsync(_folder, image, "64k");
        Cut(image, 1 << 20);
        await Qemu.ImgAsync("check", "-r", "all", image);

        FormatFault? fault = await FindAsync(image, "repaired");

        Assert.Equal((FaultCode.FileTruncated, (ulong)LengthOf(image)), (fault?.Code, fault?.Offset));
    }

    /// <summary>What a snapshot alone has is somebody's too.</summary>
    [Fact]
    public async Task DataOfASnapshotAreMissed()
    {
        Qemu.Require();
        string image = _folder.File("image.qcow2");
        string[] commands =
        [
            ImageRecipe.New,
            "img snapshot -c a {f}",
            "io write -P 1 0 1M",
            "img snapshot -c b {f}",
            "img snapshot -d a {f}",
            "io discard 0 1M",
        ];
        await new ImageRecipe("", commands).MakeAsync(_folder, image, "64k");
        Assert.Null(await FindAsync(image, "whole"));
        Cut(image, 0x100000);

        Assert.Equal(FaultCode.FileTruncated, (await FindAsync(image, "cut"))?.Code);
    }

    /// <summary>
    /// A program without bitmaps has written, and the bitmaps' clusters were given back. A lenient reader still lists them.
    /// </summary>
    [Theory]
    [InlineData(AutoclearFeatures.None, null)]
    [InlineData(AutoclearFeatures.Bitmaps, FaultCode.FileTruncated)]
    public async Task BitmapsThatAreIgnoredNeedNothing(object features, object? expected)
    {
        Patched image = Patched.Usual();
        image.U64(image.Entry(Patched.TableOffset), 1 << 30).U64(HeaderLayout.AutoclearFeatures, (ulong)(AutoclearFeatures)features);
        await using Qcow2Image opened = await TestImage.OpenAsync(image.Bytes, Strictness.Lenient);
        Assert.Equal(2, opened.Bitmaps.Count);

        Assert.Equal((FaultCode?)expected, (await opened.FindTruncationAsync(cancellationToken: Token))?.Code);
    }

    private static IEnumerable<long> CutsOf(long length) =>
        new[] { length - 1, length - 512, length - 65536, length * 3 / 4 }.Where(static cut => cut > 0);

    /// <summary>Cuts a file and looks at what then reads otherwise.</summary>
    /// <returns>Whether the check found the cut.</returns>
    private async Task<bool> CutAsync(string name, string image, string file, long length)
    {
        string whole = file + ".whole";
        File.Copy(file, whole);
        string bits = await BitsAsync(image);
        string disk = _folder.File("disk.raw");
        await Qemu.ImgOkAsync("convert", "-O", "raw", image, disk);
        try
        {
            Cut(file, length);
            if (await FindAsync(image, name) is not null)
            {
                return true;
            }

            ProcessResult compared = await Qemu.ImgAsync("compare", "-F", "raw", image, disk);
            // Inside the last sector of compressed data nobody can tell, but reading them fails.
            bool isCutInLastSector = compared.ExitCode > 1 && length > LengthOf(whole) - 512;
            Assert.True(
                compared.ExitCode == 0 || isCutInLastSector,
                $"{name}: {Path.GetFileName(file)} cut to {length} bytes looks whole, but: {compared.Output}{compared.Error}");
            Assert.Equal(bits, await BitsAsync(image));
            return false;
        }
        finally
        {
            File.Move(whole, file, overwrite: true);
        }
    }

    private static async Task<string> BitsAsync(string image)
    {
        ProcessResult first = await Support.Cli.RunAsync("extents", image, "b");
        ProcessResult second = await Support.Cli.RunAsync("extents", image, "b2");
        return first.Output + second.Output;
    }

    /// <summary>What is missing; an image that cannot be opened has told so already.</summary>
    private static async Task<FormatFault?> FindAsync(string image, string name)
    {
        try
        {
            await using ImageChain chain = await ImageChain.OpenAsync(image, cancellationToken: Token);
            ILookup<ChainLayer, FormatFault> found = await chain.FindTruncationsAsync(cancellationToken: Token);
            Assert.True(found.All(one => one.Key.Index == 0), name);
            return found.FirstOrDefault()?.First();
        }
        catch (Qcow2FormatException e)
        {
            return e.Fault;
        }
    }

    private static void Cut(string path, long length)
    {
        using FileStream file = File.OpenWrite(path);
        file.SetLength(length);
    }

    private static long LengthOf(string path)
    {
        using FileStream file = File.OpenRead(path);
        return file.Length;
    }
}
