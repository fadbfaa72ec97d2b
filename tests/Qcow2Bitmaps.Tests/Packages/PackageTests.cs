using System.IO.Compression;
using System.Text;
using System.Xml.Linq;
using Qcow2Bitmaps.Tests.Documents;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Packages;

/// <summary>What is packed can be installed and run by somebody who has nothing else, trimmed too.</summary>
public sealed class PackageTests(PackedPackages packed) : IClassFixture<PackedPackages>
{
    private const string Program =
        """
        using System;
        using Qcow2Bitmaps;

        await using var chain = await ImageChain.OpenAsync(args[0]);
        foreach (BitmapVerdict verdict in await chain.JudgeBitmapsAsync())
        {
            Console.WriteLine(verdict);
        }
        """;

    private static readonly string s_chain = Path.Combine(FixtureFiles.Root, "chains", "valid-5", "top.qcow2");

    /// <summary>Where this machine keeps packages: those that trimming needs are looked for there first.</summary>
    private static readonly string s_packageCache = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
        ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");

    [Theory]
    [InlineData("Qcow2Bitmaps", "lib/net10.0/Qcow2Bitmaps.dll")]
    [InlineData("Qcow2Bitmaps.Cli.any", "tools/net10.0/any/Qcow2Bitmaps.dll")]
    [InlineData("Qcow2Bitmaps.Cli.linux-x64", "tools/any/linux-x64/Qcow2Bitmaps.Cli")]
    [InlineData("Qcow2Bitmaps.Cli", "tools/any/any/DotnetToolSettings.xml")]
    public void HoldsWhatAFeedShows(string id, string file)
    {
        using ZipArchive package = ZipFile.OpenRead(Path.Combine(packed.Feed, $"{id}.{packed.Version}.nupkg"));
        ZipArchiveEntry nuspec = package.Entries.Single(static entry => entry.FullName.EndsWith(".nuspec", StringComparison.Ordinal));
        using Stream stream = nuspec.Open();
        XElement metadata = XDocument.Load(stream).Root!.Elements().First();
        string Of(string name) => metadata.Elements().SingleOrDefault(element => element.Name.LocalName == name)?.Value ?? "";

        Assert.Equal(
            (id, packed.Version, "MIT", "README.md", "icon.png"), (Of("id"), Of("version"), Of("license"), Of("readme"), Of("icon")));
        Assert.Contains("dirty-bitmap", Of("tags"), StringComparison.Ordinal);
        Assert.NotEmpty(Of("description"));
        string[] names = [.. package.Entries.Select(static entry => entry.FullName)];
        Assert.Contains(file, names);
        Assert.Contains("README.md", names);
        Assert.Contains("icon.png", names);
    }

    [Fact]
    public void TheToolForAPlatformIsOneNativeFile()
    {
        using ZipArchive package = ZipFile.OpenRead(Path.Combine(packed.Feed, $"Qcow2Bitmaps.Cli.linux-x64.{packed.Version}.nupkg"));
        string[] names = [.. package.Entries.Select(static entry => entry.FullName)
            .Where(static name => name.StartsWith("tools/", StringComparison.Ordinal))];

        Assert.Equal(["DotnetToolSettings.xml", "Qcow2Bitmaps.Cli"], names.Select(Path.GetFileName).Order(StringComparer.Ordinal));
        byte[] tool = Read(package, "tools/any/linux-x64/Qcow2Bitmaps.Cli");
        Assert.True(tool.AsSpan().StartsWith("\u007fELF"u8));
        Assert.InRange(tool.Length, 0, 10_000_000);
    }

    [Fact]
    public void SymbolsHoldTheSourcesAndNoPathOfThisMachine()
    {
        using ZipArchive symbols = ZipFile.OpenRead(Path.Combine(packed.Feed, $"Qcow2Bitmaps.{packed.Version}.snupkg"));
        byte[] pdb = Read(symbols, "lib/net10.0/Qcow2Bitmaps.pdb");
        using ZipArchive package = ZipFile.OpenRead(Path.Combine(packed.Feed, $"Qcow2Bitmaps.{packed.Version}.nupkg"));
        byte[] assembly = Read(package, "lib/net10.0/Qcow2Bitmaps.dll");

        Assert.True(pdb.AsSpan().StartsWith("BSJB"u8));
        byte[] root = Encoding.UTF8.GetBytes(Document.Root);
        Assert.True(pdb.AsSpan().IndexOf(root) < 0 && assembly.AsSpan().IndexOf(root) < 0);
        // 30,000 lines of source, compressed; without them a third of that.
        Assert.True(pdb.Length > 400_000, $"{pdb.Length} bytes");
    }

    [Fact]
    public async Task LibraryRunsTrimmedInANewProjectWithoutWarnings()
    {
        string project = Directory.CreateDirectory(packed.File("consumer")).FullName;
        await WriteAsync(project, "Program.cs", Program);
        await WriteAsync(
            project,
            "consumer.csproj",
            $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <RuntimeIdentifier>linux-x64</RuntimeIdentifier>
                <PublishTrimmed>true</PublishTrimmed>
                <TrimmerSingleWarn>false</TrimmerSingleWarn>
                <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
                <InvariantGlobalization>true</InvariantGlobalization>
                <RestorePackagesPath>{packed.File("consumer-packages")}</RestorePackagesPath>
                <RestoreFallbackFolders>{(Directory.Exists(s_packageCache) ? s_packageCache : "")}</RestoreFallbackFolders>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="Qcow2Bitmaps" Version="[{packed.Version}]" />
              </ItemGroup>
            </Project>
            """);
        await WriteAsync(
            project, "nuget.config",
            $"<configuration><packageSources><add key=\"packed\" value=\"{packed.Feed}\" /></packageSources></configuration>");
        // A solution's settings end here: the temporary folder may lie below one.
        await WriteAsync(project, "Directory.Build.props", "<Project />");

        string output = await DotNet.OkAsync(project, null, "publish", "-o", "out", "-p:UseSharedCompilation=false");

        Assert.DoesNotContain("warning", output, StringComparison.OrdinalIgnoreCase);
        ProcessResult result = await Qemu.RunAsync(Path.Combine(project, "out", "consumer"), project, s_chain);
        Assert.Equal("Bitmap 'a' is valid\nBitmap 'b' is valid\nBitmap 'c' is valid\n", result.Output + result.Error);
        long bytes = Directory.EnumerateFiles(Path.Combine(project, "out"), "*.dll").Sum(static path => File.ReadAllBytes(path).LongLength);
        Assert.True(bytes < 30_000_000, $"{bytes} bytes are left: nothing was trimmed");
    }

    [Fact]
    public async Task ToolRunsFromAToolPath()
    {
        string folder = Directory.CreateDirectory(packed.File("tool")).FullName;
        var environment = new Dictionary<string, string> { ["NUGET_PACKAGES"] = packed.File("tool-packages") };
        await DotNet.OkAsync(
            folder, environment, "tool", "install", "Qcow2Bitmaps.Cli", "--tool-path", folder, "--version", packed.Version, "--source",
            packed.Feed);

        ProcessResult version = await Qemu.RunAsync(Path.Combine(folder, "qcow2bitmaps"), folder, "--version");
        Assert.Equal(packed.Version + "\n", version.Output + version.Error);
        ProcessResult check = await Qemu.RunAsync(Path.Combine(folder, "qcow2bitmaps"), folder, "chain", "check", s_chain);
        Assert.Equal(0, check.ExitCode);
        Assert.Contains("c       +  .  .  .  .  valid\n", check.Output, StringComparison.Ordinal);
    }

    private static Task WriteAsync(string folder, string name, string text) => File.WriteAllTextAsync(Path.Combine(folder, name), text);

    private static byte[] Read(ZipArchive archive, string name)
    {
        using Stream stream = archive.GetEntry(name)!.Open();
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }
}
